/**
 * The requests that a worker may run at once, over all of its links together. Who comes when all are taken
 * waits: a relay knows what it has given itself, and of what came over another link only what it was told.
 */
export class Slots {
  readonly #limit: number;
  readonly #running = new Set<object>();
  /** In order of arrival. */
  readonly #waiting = new Map<object, () => void>();

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Who runs, and who waits for it. */
  get load(): number {
    return this.#running.size + this.#waiting.size;
  }

  /** Calls `begin` now, or when it is this one's turn. */
  take(taker: object, begin: () => void): void {
    if (this.#running.size >= this.#limit) {
      this.#waiting.set(taker, begin);
      return;
    }
    this.#running.add(taker);
    begin();
  }

  /** It has ended, or waits no longer. */
  free(taker: object): void {
    this.#waiting.delete(taker);
    if (!this.#running.delete(taker)) return;
    for (const [next, begin] of this.#waiting) {
      this.#waiting.delete(next);
      this.#running.add(next);
      return begin();
    }
  }
}
