import { monitorEventLoopDelay } from "node:perf_hooks";

/** How long the event loop kept what was due waiting, in seconds. */
export interface LoopLag {
  mean: number;
  p50: number;
  p99: number;
  max: number;
}

/** One look in so many ms: 20 a second cost less than a thousandth of a core. */
const RESOLUTION_MS = 50;
/** Scrapers that come within this time of each other are told the same. */
const WINDOW_MS = 5_000;
const NS = 1e9;

/**
 * Reads the lag since the reading before. The runtime has one such monitor a process; it begins with the
 * first reading, so that nobody pays for what nobody asks.
 */
export class LoopLagMeter {
  #monitor: ReturnType<typeof monitorEventLoopDelay> | undefined;
  #since = 0;
  #last: LoopLag | undefined;

  /** @returns `undefined` while nothing has been measured yet */
  read(now: number): LoopLag | undefined {
    if (this.#monitor === undefined) {
      this.#monitor = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
      this.#monitor.enable();
      this.#since = now;
      return undefined;
    }
    const monitor = this.#monitor;
    if (now - this.#since < WINDOW_MS && this.#last !== undefined) return this.#last;
    if (monitor.count === 0) return this.#last;
    this.#last = {
      mean: monitor.mean / NS,
      p50: monitor.percentile(50) / NS,
      p99: monitor.percentile(99) / NS,
      max: monitor.max / NS,
    };
    monitor.reset();
    this.#since = now;
    return this.#last;
  }
}
