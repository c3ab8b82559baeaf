import type { KeyChanges, KeyRecord, KeyStore } from "../../src/server/keys/key-store.ts";
import type { WorkerSecretRecord, WorkerSecretStore } from "../../src/server/keys/worker-secret-store.ts";

/** A database of keys that is reached, or not, as a test wishes. */
export class MemoryKeyStore implements KeyStore, WorkerSecretStore {
  /** What each call rejects with while it is set. */
  trouble: Error | undefined;
  /** While set, lists are read at once and handed out when it resolves. */
  slowness: Promise<void> | undefined;
  readonly touched: Map<string, number>[] = [];
  readonly #keys = new Map<string, KeyRecord>();
  readonly #workerSecrets = new Map<string, WorkerSecretRecord>();
  #revision = 1;

  async listKeys(): Promise<KeyRecord[]> {
    this.#reach();
    const keys = [...this.#keys.values()];
    await this.slowness;
    return keys;
  }

  async insertKey(record: KeyRecord): Promise<void> {
    this.#change();
    this.#keys.set(record.id, record);
  }

  async updateKey(id: string, changes: KeyChanges): Promise<KeyRecord | undefined> {
    return this.#replace(id, (record) => ({ ...record, ...changes }));
  }

  async revokeKey(id: string, at: number): Promise<KeyRecord | undefined> {
    return this.#replace(id, (record) => ({ ...record, revokedAt: record.revokedAt ?? at }));
  }

  async touchKeys(lastUsedAt: ReadonlyMap<string, number>): Promise<void> {
    this.#reach();
    this.touched.push(new Map(lastUsedAt));
    for (const [id, at] of lastUsedAt) {
      const record = this.#keys.get(id);
      if (record !== undefined) this.#keys.set(id, { ...record, lastUsedAt: at });
    }
  }

  async hashSecret(): Promise<Uint8Array> {
    this.#reach();
    return new Uint8Array(32).fill(7);
  }

  async revision(): Promise<number> {
    this.#reach();
    return this.#revision;
  }

  async listWorkerSecrets(): Promise<WorkerSecretRecord[]> {
    this.#reach();
    return [...this.#workerSecrets.values()];
  }

  async insertWorkerSecret(record: WorkerSecretRecord): Promise<void> {
    this.#change();
    this.#workerSecrets.set(record.id, record);
  }

  async revokeWorkerSecret(id: string, at: number): Promise<WorkerSecretRecord | undefined> {
    this.#change();
    const record = this.#workerSecrets.get(id);
    if (record === undefined) return undefined;
    const revoked = { ...record, revokedAt: record.revokedAt ?? at };
    this.#workerSecrets.set(id, revoked);
    return revoked;
  }

  #replace(id: string, change: (record: KeyRecord) => KeyRecord): KeyRecord | undefined {
    this.#change();
    const record = this.#keys.get(id);
    if (record === undefined) return undefined;
    const changed = change(record);
    this.#keys.set(id, changed);
    return changed;
  }

  #change(): void {
    this.#reach();
    this.#revision++;
  }

  #reach(): void {
    if (this.trouble !== undefined) throw this.trouble;
  }
}
