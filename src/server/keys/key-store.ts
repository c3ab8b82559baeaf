import type { Limits, Priority } from "../client.ts";

/** An API key as it is kept: what was shown to its owner is not in it. Times in ms since the epoch. */
export interface KeyRecord {
  /** A UUID. */
  id: string;
  name: string;
  /** The first characters of the key, by which it is found. */
  prefix: string;
  /** HMAC-SHA256 of the whole key, in hexadecimal. */
  hash: string;
  /** `undefined` for all. */
  models: string[] | undefined;
  priority: Priority;
  limits: Limits;
  createdAt: number;
  expiresAt: number | undefined;
  revokedAt: number | undefined;
  lastUsedAt: number | undefined;
}

/** What of a key its operator may change. */
export type KeyChanges = Partial<Pick<KeyRecord, "name" | "models" | "priority" | "limits" | "expiresAt">>;

/**
 * Where keys are kept. Each call is one transaction; it rejects with a `StoreError` if the database cannot
 * be reached in time, and nothing was changed then as far as the caller can know.
 */
export interface KeyStore {
  /** Every key, revoked and expired ones included, in the order in which they were made. */
  listKeys(): Promise<KeyRecord[]>;
  insertKey(record: KeyRecord): Promise<void>;
  /** A field that is there and `undefined` is cleared. @returns `undefined` if there is no such key */
  updateKey(id: string, changes: KeyChanges): Promise<KeyRecord | undefined>;
  /** Revoking twice keeps the first time. @returns `undefined` if there is no such key */
  revokeKey(id: string, at: number): Promise<KeyRecord | undefined>;
  /** Notes when keys were last used, by their ids; a time that is older than the stored one changes nothing. */
  touchKeys(lastUsedAt: ReadonlyMap<string, number>): Promise<void>;
  /** The secret with which keys are hashed: made once, the same for every relay on this database; 32 bytes. */
  hashSecret(): Promise<Uint8Array>;
  /** Grows with each change to a key or a worker secret, whoever makes it. */
  revision(): Promise<number>;
}
