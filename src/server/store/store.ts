import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { silentLog, type Log } from "../../base/log.ts";
import type { BodyStore, KeptBodies } from "../bodies/body-store.ts";
import type { KeyChanges, KeyRecord, KeyStore } from "../keys/key-store.ts";
import type { WorkerSecretRecord, WorkerSecretStore } from "../keys/worker-secret-store.ts";
import type { RemovedPage } from "../retention.ts";
import type { RequestFilter, UsageGroup, UsageRow, UsageStore, UsageSum } from "../usage/usage-store.ts";
import { isPostgresUrl, withoutSecrets } from "./address.ts";
import type { BackupResult } from "./backup.ts";
import type { DatabaseSettings } from "./database.ts";
import type { Page } from "./key-operations.ts";
import type { StoreCheck } from "./store-check.ts";
import { StoreError } from "./store-error.ts";
import { HealthKeeper, type StoreHealth } from "./store-health.ts";
import { StoreLink } from "./store-link.ts";
import type { CallArgs, CallName, CallResult } from "./store-messages.ts";
import { startStoreThread, type StartThread } from "./thread.ts";
import { usageBatch } from "./usage-columns.ts";

/** Of the SQLite database in the data directory. */
export const DATABASE_FILE = "modelrelay.db";

const TIMEOUT_MS = 5_000;
/** Of what reads a whole table: months of usage. */
const REPORT_TIMEOUT_MS = 30_000;
/** Of looking at a whole database, or copying it. */
const WHOLE_TIMEOUT_MS = 60 * 60_000;
/** Rows of one message: making it takes the relay's thread half a millisecond (2026-11). */
const ROWS_AT_ONCE = 500;

export interface StoreOptions {
  /** Where the SQLite database is, or is made. */
  dataDir: string;
  /** `postgres://…`: the database is there instead. */
  url?: string | undefined;
  /** Longest time of a call, in ms; 5 s if absent. */
  timeoutMs?: number;
  /** `inspect` makes and changes no tables, and takes a database of any version. `serve` if absent. */
  purpose?: DatabaseSettings["purpose"];
}

export interface StoreTools {
  clock: Clock;
  log?: Log;
  /** Called with each change of `health()`. */
  changed?: (health: StoreHealth) => void;
  startThread?: StartThread;
}

/** Keys, workers' secrets, usage and bodies in one database. No call keeps the event loop waiting; each ends in time. */
export interface Store extends KeyStore, WorkerSecretStore, UsageStore, BodyStore, AsyncDisposable {
  /** Where it is, for messages; holds no password. */
  readonly location: string;
  /** Kept up to date by the calls, and by attempts to write while it is not well. */
  health(): StoreHealth;
  /** Version of the tables; `undefined` until the database could be reached. */
  readonly schemaVersion: number | undefined;
  /**
   * Copies the database while it is in use.
   *
   * @throws {StoreError} `store_conflict` if the file is there, `store_unsupported` for PostgreSQL
   */
  backup(file: string): Promise<BackupResult>;
  /** Looks at all of it, which takes time, while it is in use. @throws {StoreError} if it cannot be opened at all */
  check(): Promise<StoreCheck>;
  /** Twice is once. Calls that wait, and later ones, reject with `store_closed`. */
  close(): Promise<void>;
}

/**
 * Opens the database, and makes it or brings its tables up to date. One that cannot be reached now is opened
 * all the same: `health()` says why, and calls reject until it is back.
 *
 * @throws {StoreError} if waiting will not help: `store_newer`, `store_corrupt`, `store_refused`, `store_missing`
 */
export async function openStore(options: StoreOptions, tools: StoreTools): Promise<Store> {
  const store = new ThreadedStore(settingsOf(options), tools);
  try {
    await store.prepare();
  } catch (thrown) {
    if (thrown instanceof StoreError && !thrown.isLasting) return store;
    await store.close();
    throw thrown;
  }
  return store;
}

function settingsOf({ dataDir, url, timeoutMs, purpose }: StoreOptions): DatabaseSettings {
  if (url !== undefined && !isPostgresUrl(url)) {
    throw new StoreError(
      "store_refused",
      "Cannot use the address of the database: it is no postgres:// address",
      {
        action: "Write it as postgres://USER:PASSWORD@HOST:5432/DATABASE",
      },
    );
  }
  return {
    file: join(dataDir, DATABASE_FILE),
    url,
    purpose: purpose ?? "serve",
    timeoutMs: timeoutMs ?? TIMEOUT_MS,
  };
}

class ThreadedStore implements Store {
  readonly location: string;
  readonly #settings: DatabaseSettings;
  readonly #tools: Required<Pick<StoreTools, "clock" | "log" | "startThread">>;
  readonly #link: StoreLink;
  readonly #health: HealthKeeper;
  /** For what reads many rows, so that short calls never wait behind it; opened when it is first needed. */
  #reports: StoreLink | undefined;
  #isClosed = false;
  #schemaVersion: number | undefined;

  constructor(settings: DatabaseSettings, tools: StoreTools) {
    const { clock, log = silentLog, startThread = startStoreThread, changed } = tools;
    this.location = settings.url === undefined ? settings.file : withoutSecrets(new URL(settings.url));
    this.#settings = settings;
    this.#tools = { clock, log, startThread };
    this.#link = this.#openLink(settings);
    const probe = async (): Promise<void> => {
      this.#schemaVersion = await this.#link.call("probe", []);
    };
    this.#health = new HealthKeeper({ clock, log, probe, ...(changed && { changed }) });
  }

  get schemaVersion(): number | undefined {
    return this.#schemaVersion;
  }

  async prepare(): Promise<void> {
    this.#schemaVersion = await this.#call("prepare");
  }

  health(): StoreHealth {
    return this.#health.current;
  }

  listKeys(): Promise<KeyRecord[]> {
    return everyPage((after) => this.#call("keysAfter", after));
  }

  insertKey(record: KeyRecord): Promise<void> {
    return this.#call("insertKey", record);
  }

  updateKey(id: string, changes: KeyChanges): Promise<KeyRecord | undefined> {
    return this.#call("updateKey", id, changes);
  }

  revokeKey(id: string, at: number): Promise<KeyRecord | undefined> {
    return this.#call("revokeKey", id, at);
  }

  async touchKeys(lastUsedAt: ReadonlyMap<string, number>): Promise<void> {
    if (lastUsedAt.size > 0) await this.#call("touchKeys", lastUsedAt);
  }

  async hashSecret(): Promise<Uint8Array> {
    return Uint8Array.fromHex(await this.#call("hashSecret"));
  }

  revision(): Promise<number> {
    return this.#call("revision");
  }

  listWorkerSecrets(): Promise<WorkerSecretRecord[]> {
    return everyPage((after) => this.#call("workerSecretsAfter", after));
  }

  insertWorkerSecret(record: WorkerSecretRecord): Promise<void> {
    return this.#call("insertWorkerSecret", record);
  }

  revokeWorkerSecret(id: string, at: number): Promise<WorkerSecretRecord | undefined> {
    return this.#call("revokeWorkerSecret", id, at);
  }

  async insertUsage(rows: readonly UsageRow[]): Promise<void> {
    for (let from = 0; from < rows.length; from += ROWS_AT_ONCE) {
      await this.#call("insertUsage", usageBatch(rows.slice(from, from + ROWS_AT_ONCE)));
    }
  }

  sumUsage(by: UsageGroup, since: number, until: number = Number.MAX_SAFE_INTEGER): Promise<UsageSum[]> {
    return this.#report("sumUsage", by, since, until);
  }

  recentRequests(filter: RequestFilter): Promise<UsageRow[]> {
    return this.#report("recentRequests", filter);
  }

  findRequest(id: string): Promise<UsageRow | undefined> {
    return this.#report("findRequest", id);
  }

  async tokensByKey(since: number): Promise<Map<string, number>> {
    return new Map(await this.#report("tokensByKey", since));
  }

  removeUsage(before: number, limit: number): Promise<number> {
    return this.#call("removeUsage", before, limit);
  }

  insertBodies(bodies: readonly KeptBodies[]): Promise<void> {
    return this.#call("insertBodies", [...bodies]);
  }

  findBodies(id: string): Promise<KeptBodies | undefined> {
    return this.#report("findBodies", id);
  }

  removeBodies(before: number): Promise<RemovedPage> {
    return this.#call("removeBodies", before);
  }

  backup(file: string): Promise<BackupResult> {
    return this.#apart((link) => link.call("backup", [file]));
  }

  check(): Promise<StoreCheck> {
    return this.#apart((link) => link.call("check", []));
  }

  async close(): Promise<void> {
    this.#isClosed = true;
    this.#health.close();
    await Promise.all([this.#link.close(), this.#reports?.close()]);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #call<N extends CallName>(name: N, ...args: CallArgs<N>): Promise<CallResult<N>> {
    try {
      return await this.#link.call(name, args);
    } catch (thrown) {
      if (thrown instanceof StoreError) this.#health.onFailure(thrown);
      throw thrown;
    }
  }

  async #report<N extends CallName>(name: N, ...args: CallArgs<N>): Promise<CallResult<N>> {
    if (this.#isClosed) return this.#call(name, ...args);
    const timeoutMs = Math.max(this.#settings.timeoutMs, REPORT_TIMEOUT_MS);
    this.#reports ??= this.#openLink({ ...this.#settings, timeoutMs });
    try {
      return await this.#reports.call(name, args);
    } catch (thrown) {
      // That many rows take long says nothing of the database.
      const isHealthy = thrown instanceof StoreError && thrown.code === "store_timeout";
      if (thrown instanceof StoreError && !isHealthy) this.#health.onFailure(thrown);
      throw thrown;
    }
  }

  /** In a thread of its own: what takes long would hold up every other call. */
  async #apart<T>(work: (link: StoreLink) => Promise<T>): Promise<T> {
    const link = this.#openLink({ ...this.#settings, purpose: "inspect", timeoutMs: WHOLE_TIMEOUT_MS });
    try {
      return await work(link);
    } finally {
      await link.close();
    }
  }

  #openLink(settings: DatabaseSettings): StoreLink {
    const { file, url } = settings;
    return new StoreLink(settings, url === undefined ? file : "PostgreSQL", {
      ...this.#tools,
      random: Math.random,
    });
  }
}

/** Page by page, so that thousands of records do not come in one message. */
async function everyPage<T>(read: (after: number) => Promise<Page<T>>): Promise<T[]> {
  const all: T[] = [];
  for (let after: number | undefined = 0; after !== undefined;) {
    const { records, next }: Page<T> = await read(after);
    all.push(...records);
    after = next;
  }
  return all;
}
