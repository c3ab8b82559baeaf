import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { UsageStore } from "./usage-store.ts";

const EVERY_MS = 60 * 60_000;
const PAGE_ROWS = 500;
/** Between two pages, so that what is written waits for one of them at most. */
const PAUSE_MS = 50;

export interface RetentionParts {
  store: Pick<UsageStore, "removeUsage">;
  /** For how long a row is kept, in ms. */
  keepMs: number;
  clock: Clock;
  log: Log;
}

/** Removes rows that are older than they are kept for: at the start and each hour, a page at a time. */
export class UsageRetention {
  readonly #parts: RetentionParts;
  #timer: Timer | undefined;
  #removed = 0;

  constructor(parts: RetentionParts) {
    this.#parts = parts;
    this.#after(0);
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #after(delayMs: number): void {
    this.#timer = this.#parts.clock.after(delayMs, () => void this.#page());
  }

  async #page(): Promise<void> {
    const { store, keepMs, clock, log } = this.#parts;
    let removed = 0;
    try {
      removed = await store.removeUsage(clock.wall() - keepMs, PAGE_ROWS);
    } catch (thrown) {
      log.debug("Old usage could not be removed", { reason: messageOf(thrown) });
    }
    if (this.#timer === undefined) return;
    this.#removed += removed;
    if (removed === PAGE_ROWS) return this.#after(PAUSE_MS);
    if (this.#removed > 0) log.info("Old usage was removed", { requests: this.#removed });
    this.#removed = 0;
    this.#after(EVERY_MS);
  }
}
