/** A secret of one or several workers as it is kept; what they show is not in it. Times in ms since the epoch. */
export interface WorkerSecretRecord {
  /** A UUID. */
  id: string;
  name: string;
  /** The first characters of the secret, by which it is found. */
  prefix: string;
  /** HMAC-SHA256 of the whole secret, in hexadecimal. */
  hash: string;
  /** What a worker that shows it may offer; `undefined` for all. */
  models: string[] | undefined;
  createdAt: number;
  revokedAt: number | undefined;
}

/** Where the workers' secrets are kept, beside the keys: `KeyStore.revision` grows with each change, as for keys. */
export interface WorkerSecretStore {
  /** Every secret, revoked ones included, in the order in which they were made. */
  listWorkerSecrets(): Promise<WorkerSecretRecord[]>;
  insertWorkerSecret(record: WorkerSecretRecord): Promise<void>;
  /** Revoking twice keeps the first time. @returns `undefined` if there is no such secret */
  revokeWorkerSecret(id: string, at: number): Promise<WorkerSecretRecord | undefined>;
}
