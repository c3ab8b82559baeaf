import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";

const EVERY_MS = 60 * 60_000;
/** Between two pages, so that what is written waits for one of them at most. */
const PAUSE_MS = 50;

/** What one page has come to. */
export interface RemovedPage {
  removed: number;
  /** Others are as old. */
  more: boolean;
}

export interface RetentionParts {
  /** What is removed, for the log. */
  what: string;
  /** Removes a page of what came before, in ms since the epoch. */
  removePage: (before: number) => Promise<RemovedPage>;
  /** For how long it is kept, in ms. */
  keepMs: number;
  clock: Clock;
  log: Log;
}

/** Removes what is older than it is kept for: at the start and each hour, a page at a time. */
export class Retention {
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
    const { what, removePage, keepMs, clock, log } = this.#parts;
    let page: RemovedPage = { removed: 0, more: false };
    try {
      page = await removePage(clock.wall() - keepMs);
    } catch (thrown) {
      log.debug(`Cannot remove old ${what}`, { reason: messageOf(thrown) });
    }
    if (this.#timer === undefined) return;
    this.#removed += page.removed;
    if (page.more) return this.#after(PAUSE_MS);
    if (this.#removed > 0) log.info(`Removed old ${what}`, { requests: this.#removed });
    this.#removed = 0;
    this.#after(EVERY_MS);
  }
}
