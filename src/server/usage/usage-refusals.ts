import type { Clock } from "../../base/clock.ts";

/** A backend may be changed for one that takes the field. */
const REMEMBERED_MS = 10 * 60_000;
const MAX_REMEMBERED = 1_000;

/** Which workers' backends refuse to be asked for usage, by model, so that not each request is sent twice. */
export class UsageRefusals {
  readonly #clock: Clock;
  /** Until when, in the order in which they were added. */
  readonly #until = new Map<string, number>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  add(worker: string, model: string): void {
    const key = keyOf(worker, model);
    this.#until.delete(key);
    this.#until.set(key, this.#clock.now() + REMEMBERED_MS);
    if (this.#until.size <= MAX_REMEMBERED) return;
    for (const oldest of this.#until.keys()) {
      this.#until.delete(oldest);
      return;
    }
  }

  has(worker: string, model: string): boolean {
    const until = this.#until.get(keyOf(worker, model));
    return until !== undefined && until > this.#clock.now();
  }
}

/** Neither name has a line break in it. */
function keyOf(worker: string, model: string): string {
  return `${worker}\n${model}`;
}
