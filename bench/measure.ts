/** The part of a job that counts, on `performance.now()`, and the CPU time this process spends on all of it. */
export class Window {
  readonly begin: number;
  readonly end: number;
  readonly #startedAt = performance.now();
  readonly #cpu = process.cpuUsage();

  constructor(warmupMs: number, durationMs: number) {
    this.begin = this.#startedAt + warmupMs;
    this.end = this.begin + durationMs;
  }

  holds(now: number): boolean {
    return now >= this.begin && now < this.end;
  }

  /** CPU time since the window was made, as a share of one core. */
  cpuShare(): number {
    const used = process.cpuUsage(this.#cpu);
    return (used.user + used.system) / 1_000 / (performance.now() - this.#startedAt);
  }
}

/** Counts what went wrong and keeps the first in words. */
export class FailureCount {
  #count = 0;
  #first: string | undefined;

  add(what: string): void {
    this.#count++;
    this.#first ??= what;
  }

  /** So many failures that going on tells nothing more. */
  get hopeless(): boolean {
    return this.#count >= 100;
  }

  report(): { failures: number; failure?: string } {
    return this.#first === undefined ? { failures: 0 } : { failures: this.#count, failure: this.#first };
  }
}
