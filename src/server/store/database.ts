import type { SQL } from "bun";
import type { Clock } from "../../base/clock.ts";
import { formatDuration } from "../../base/duration.ts";
import { StoreError } from "./store-error.ts";
import type { UsageBatch } from "./usage-columns.ts";

export type Dialect = "sqlite" | "postgres";

/** `write`: a transaction that may change something. `read`: statements that change nothing. */
export type Access = "read" | "write";

/** Runs within one attempt; may be run again if the database was busy, so it changes nothing but the database. */
export type Work<T> = (sql: SQL) => Promise<T>;

/** One database, whichever kind it is. Lives in the store's thread. */
export interface Database {
  readonly dialect: Dialect;
  /** Where it is, for messages; holds no password. */
  readonly location: string;
  /**
   * Does the work once, or not at all. Tries again by itself while the database is busy.
   *
   * @param signal ends the waiting; its reason is thrown
   * @throws {StoreError}
   */
  run<T>(access: Access, work: Work<T>, signal: AbortSignal): Promise<T>;
  /** Opens what rows of usage go through, so that the first ones need no more files than those after them. */
  openUsage(signal: AbortSignal): Promise<void>;
  /** Adds rows of usage, as `run` does work. */
  insertUsage(batch: UsageBatch, signal: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/** Which database, and how; goes to the thread as a message. */
export interface DatabaseSettings {
  /** Where the SQLite file is; used without a `url`. */
  file: string;
  /** `postgres://…`, with its password. */
  url: string | undefined;
  /**
   * `serve`: makes the database and its tables, and changes old ones. `inspect`: takes what is there, whatever
   * its version, and makes nothing.
   */
  purpose: "serve" | "inspect";
  /** Longest time of one call, in ms. */
  timeoutMs: number;
}

export interface DatabaseTools {
  clock: Clock;
}

/**
 * Does the work within a time.
 *
 * @throws {StoreError} `store_timeout`, unless the work words its end itself
 */
export async function within<T>(
  { clock, location }: { clock: Clock; location: string },
  limitMs: number,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  const why = `no answer within ${formatDuration(limitMs)}`;
  const late = new StoreError("store_timeout", `Cannot use the database "${location}": ${why}`);
  const timer = clock.after(limitMs, () => controller.abort(late));
  try {
    return await work(controller.signal);
  } finally {
    timer.cancel();
  }
}

/** Settles as the promise does, or with the signal's reason if that comes first. */
export async function orAborted<T>(running: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  const { promise, reject } = Promise.withResolvers<never>();
  const onAbort = (): void => reject(signal.reason);
  signal.addEventListener("abort", onAbort);
  try {
    return await Promise.race([running, promise]);
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
