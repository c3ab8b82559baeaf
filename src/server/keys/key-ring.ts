import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Client } from "../client.ts";
import { hasToldItself } from "../store/store-error.ts";
import type { KeyChanges, KeyRecord, KeyStore } from "./key-store.ts";
import { LastUsed } from "./last-used.ts";
import { SecretIndex } from "./secret-index.ts";
import { KEY_START, makeSecret, prefixOf, secretHasher, WORKER_SECRET_START } from "./secrets.ts";
import type { WorkerSecretRecord, WorkerSecretStore } from "./worker-secret-store.ts";

/** How often the database is asked whether somebody else has changed a key, in ms. */
const LOOK_EVERY_MS = 500;
/** Silence of the database after which a key that is not known may be one that was made meanwhile, in ms. */
const SILENCE_MS = 2_000;

export type KeyLookup =
  | { readonly kind: "valid"; readonly client: Client }
  | { kind: "unknown" | "revoked" | "expired" }
  /** The database has not been reached for too long to tell. */
  | { kind: "unavailable" };

export type WorkerSecretLookup =
  { kind: "valid"; record: WorkerSecretRecord } | { kind: "unknown" | "unavailable" };

/** What a new key is to be. */
export type KeySpec = Pick<KeyRecord, "name" | "models" | "priority" | "limits" | "expiresAt">;

export interface KeyRingOptions {
  clock: Clock;
  log: Log;
  /** Time for which keys that are known hold while the database cannot be reached, in ms. */
  cacheTtlMs: number;
}

/** As it is kept, and what its owner is from it. */
interface KnownKey extends Pick<KeyRecord, "id" | "prefix" | "hash"> {
  record: KeyRecord;
  /** What is answered to whoever shows it while it holds. */
  valid: KeyLookup;
}

/**
 * The keys of clients and the secrets of workers, all of them in memory, so that a request waits for no
 * database. What is changed through this ring holds at once, what others change within `LOOK_EVERY_MS`.
 */
export class KeyRing {
  readonly #store: KeyStore & WorkerSecretStore;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #cacheTtlMs: number;
  readonly #keys = new SecretIndex<KnownKey>();
  readonly #workerSecrets = new SecretIndex<WorkerSecretRecord>();
  readonly #lastUsed: LastUsed;
  /** Called after a change to the workers' secrets. */
  workerSecretsChanged: () => void = () => {};
  #revision = -1;
  /** When the database last answered. */
  #heardAt = Number.NEGATIVE_INFINITY;
  /** How it is told that the database fails; `undefined` while it does not. */
  #failing: "warn" | "debug" | undefined;
  /** Changes made through this ring; a list that was asked for before one of them is out of date. */
  #changes = 0;
  #timer: Timer | undefined;
  #isClosed = false;

  private constructor(store: KeyStore & WorkerSecretStore, options: KeyRingOptions) {
    this.#store = store;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#cacheTtlMs = options.cacheTtlMs;
    this.#lastUsed = new LastUsed((uses) => this.#touch(uses), options.clock);
  }

  /** Reads every key. While the database cannot be reached nobody is known, and nobody is refused for good. */
  static async open(store: KeyStore & WorkerSecretStore, options: KeyRingOptions): Promise<KeyRing> {
    const ring = new KeyRing(store, options);
    await ring.#look();
    return ring;
  }

  /** Looks for the key that somebody shows; in memory alone. */
  find(secret: string): KeyLookup {
    const known = this.#keys.find(secret);
    if (known === undefined) return { kind: this.#isBlind() ? "unavailable" : "unknown" };
    const { revokedAt, expiresAt } = known.record;
    if (revokedAt !== undefined) return { kind: "revoked" };
    if (expiresAt !== undefined && expiresAt <= this.#clock.wall()) return { kind: "expired" };
    if (this.#silentFor() > this.#cacheTtlMs) return { kind: "unavailable" };
    this.#lastUsed.note(known.id);
    return known.valid;
  }

  findWorkerSecret(secret: string): WorkerSecretLookup {
    const record = this.#workerSecrets.find(secret);
    if (record === undefined) return { kind: this.#isBlind() ? "unavailable" : "unknown" };
    if (record.revokedAt !== undefined) return { kind: "unknown" };
    return this.#silentFor() > this.#cacheTtlMs ? { kind: "unavailable" } : { kind: "valid", record };
  }

  /** Every key, in the order in which they were made. */
  keys(): KeyRecord[] {
    return [...this.#keys.values()].map(({ record }) => this.#withLastUse(record));
  }

  key(id: string): KeyRecord | undefined {
    const known = this.#keys.get(id);
    return known && this.#withLastUse(known.record);
  }

  workerSecrets(): WorkerSecretRecord[] {
    return [...this.#workerSecrets.values()];
  }

  isWorkerSecretValid(id: string): boolean {
    const record = this.#workerSecrets.get(id);
    return record !== undefined && record.revokedAt === undefined;
  }

  /** @returns the key itself as well, which nobody can be told again */
  async createKey(spec: KeySpec): Promise<{ record: KeyRecord; secret: string }> {
    const secret = makeSecret(KEY_START);
    const record: KeyRecord = { ...spec, ...(await this.#identify(secret)), lastUsedAt: undefined };
    await this.#store.insertKey(record);
    this.#keep(record);
    return { record, secret };
  }

  /** @returns `undefined` if there is no such key */
  async updateKey(id: string, changes: KeyChanges): Promise<KeyRecord | undefined> {
    return this.#keep(await this.#store.updateKey(id, changes));
  }

  /** The key holds no longer once this has resolved. @returns `undefined` if there is no such key */
  async revokeKey(id: string): Promise<KeyRecord | undefined> {
    return this.#keep(await this.#store.revokeKey(id, this.#clock.wall()));
  }

  async createWorkerSecret(
    name: string,
    models: string[] | undefined,
  ): Promise<{ record: WorkerSecretRecord; secret: string }> {
    const secret = makeSecret(WORKER_SECRET_START);
    const record: WorkerSecretRecord = { name, models, ...(await this.#identify(secret)) };
    await this.#store.insertWorkerSecret(record);
    this.#changes++;
    this.#workerSecrets.set(record);
    return { record, secret };
  }

  /** @returns `undefined` if there is no such secret */
  async revokeWorkerSecret(id: string): Promise<WorkerSecretRecord | undefined> {
    const record = await this.#store.revokeWorkerSecret(id, this.#clock.wall());
    if (record === undefined) return undefined;
    this.#changes++;
    this.#workerSecrets.set(record);
    this.workerSecretsChanged();
    return record;
  }

  /** Asks the database for nothing more, and writes when keys were last used. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#timer?.cancel();
    await this.#lastUsed.close();
  }

  async #identify(secret: string) {
    const hashSecret = await this.#store.hashSecret();
    return {
      id: crypto.randomUUID(),
      prefix: prefixOf(secret),
      hash: secretHasher(hashSecret)(secret).toString("hex"),
      createdAt: this.#clock.wall(),
      revokedAt: undefined,
    };
  }

  #keep(record: KeyRecord | undefined): KeyRecord | undefined {
    if (record === undefined) return undefined;
    this.#changes++;
    this.#keys.set(knownKey(record));
    return record;
  }

  #withLastUse(record: KeyRecord): KeyRecord {
    const lastUsedAt = this.#lastUsed.get(record.id) ?? record.lastUsedAt;
    return { ...record, lastUsedAt };
  }

  async #touch(uses: ReadonlyMap<string, number>): Promise<void> {
    await this.#store.touchKeys(uses);
    for (const [id, lastUsedAt] of uses) {
      const known = this.#keys.get(id);
      if (known !== undefined) this.#keys.set(knownKey({ ...known.record, lastUsedAt }));
    }
  }

  /** Whether a secret that is not known may have been made meanwhile. */
  #isBlind(): boolean {
    return this.#failing !== undefined || this.#silentFor() > SILENCE_MS;
  }

  #silentFor(): number {
    return this.#clock.now() - this.#heardAt;
  }

  #lookLater(): void {
    if (!this.#isClosed) this.#timer = this.#clock.after(LOOK_EVERY_MS, () => void this.#look());
  }

  async #look(): Promise<void> {
    try {
      const revision = await this.#store.revision();
      if (revision !== this.#revision) await this.#load(revision);
      this.#heard();
    } catch (error) {
      this.#failed(error);
    }
    this.#lookLater();
  }

  /** @param revision as it was before the lists are read: what changes meanwhile is seen at the next look */
  async #load(revision: number): Promise<void> {
    const before = this.#changes;
    const hashSecret = await this.#store.hashSecret();
    const keys = await this.#store.listKeys();
    const workerSecrets = await this.#store.listWorkerSecrets();
    if (this.#changes !== before) return;
    this.#keys.replaceAll(hashSecret, keys.map(knownKey));
    this.#workerSecrets.replaceAll(hashSecret, workerSecrets);
    this.#revision = revision;
    this.workerSecretsChanged();
  }

  #heard(): void {
    this.#heardAt = this.#clock.now();
    if (this.#failing === undefined) return;
    const level = this.#failing === "warn" ? "info" : "debug";
    this.#failing = undefined;
    this.#log[level]("The database can be reached again, and keys are looked up as before");
  }

  #failed(error: unknown): void {
    if (this.#failing !== undefined || this.#isClosed) return;
    this.#failing = hasToldItself(error) ? "debug" : "warn";
    this.#log[this.#failing](
      "The database cannot be reached: keys that are known hold for a while, others are refused",
      {
        minutes: Math.round(this.#cacheTtlMs / 60_000),
        reason: messageOf(error),
      },
    );
  }
}

function knownKey(record: KeyRecord): KnownKey {
  const { id, name, prefix, hash, models, priority, limits } = record;
  const client = { id, key: { id, name }, models: models && new Set(models), priority, limits };
  return { id, prefix, hash, record, valid: { kind: "valid", client } };
}
