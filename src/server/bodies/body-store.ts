import type { RemovedPage } from "../retention.ts";

/** One body as it is kept. */
export interface KeptBody {
  /** From its beginning, up to the limit that held then. */
  kept: Uint8Array<ArrayBuffer>;
  /** Of the whole body; more than `kept` holds if it was cut. */
  bytes: number;
}

/** What was asked and answered in one request. */
export interface KeptBodies {
  /** The relay's own id of the request: the same bodies written twice are there once. */
  id: string;
  /** When the request came, in ms since the epoch. */
  at: number;
  /** As the client sent it. */
  request: KeptBody;
  /** What the backend's answer had for the client. */
  answer: KeptBody;
}

/** Where bodies are kept. Each call is one transaction; it rejects with a `StoreError` if the database cannot be reached in time. */
export interface BodyStore {
  /** Those that are there already, by their id, are left as they are. */
  insertBodies(bodies: readonly KeptBodies[]): Promise<void>;
  /** `undefined` if none are kept for that request. */
  findBodies(id: string): Promise<KeptBodies | undefined>;
  /** Removes a page of those that came before, so small that other calls hardly wait for it. */
  removeBodies(before: number): Promise<RemovedPage>;
}
