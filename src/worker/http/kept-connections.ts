import type { Clock, Timer } from "../../base/clock.ts";

/** A connection that can wait for another request. */
export interface Keepable {
  /** By the clock of what keeps it, in ms. */
  quietSince: number;
  close(): void;
}

/**
 * A connection that has been quiet for longer is not used again: inference servers close theirs after
 * 5 s (uvicorn, Node, llama.cpp), and a request must not meet the end of one.
 */
const KEEP_MS = 4_000;
const MAX_KEPT = 256;

/** Connections that nobody uses, until one is needed or they have been quiet for too long. */
export class KeptConnections<C extends Keepable> {
  readonly #clock: Clock;
  /** The last one used stands last. */
  #kept: C[] = [];
  /** Runs on when the last one is taken, as that one comes back before long; it finds nothing otherwise. */
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  keep(connection: C): void {
    if (this.#kept.length >= MAX_KEPT) return connection.close();
    connection.quietSince = this.#clock.now();
    this.#kept.push(connection);
    this.#timer ??= this.#clock.after(KEEP_MS, () => this.#closeQuiet());
  }

  take(): C | undefined {
    const connection = this.#kept.pop();
    if (connection === undefined) return undefined;
    // The others have been quiet for longer still.
    if (this.#clock.now() - connection.quietSince >= KEEP_MS) {
      connection.close();
      this.close();
      return undefined;
    }
    return connection;
  }

  /** It has ended, and is perhaps none of these. */
  forget(connection: C): void {
    const at = this.#kept.indexOf(connection);
    if (at >= 0) this.#kept.splice(at, 1);
  }

  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const connection of this.#kept.splice(0)) connection.close();
  }

  #closeQuiet(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    const fresh = this.#kept.findIndex(({ quietSince }) => now - quietSince < KEEP_MS);
    for (const connection of this.#kept.splice(0, fresh < 0 ? this.#kept.length : fresh)) connection.close();
    const [oldest] = this.#kept;
    if (oldest === undefined) return;
    this.#timer = this.#clock.after(oldest.quietSince + KEEP_MS - now, () => this.#closeQuiet());
  }
}
