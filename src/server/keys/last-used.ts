import type { Clock, Timer } from "../../base/clock.ts";

/** Time for which uses are gathered before they are written, in ms. */
const WRITE_EVERY_MS = 5_000;

/** When each key was last used: noted for each request in memory, written now and then for all together. */
export class LastUsed {
  readonly #write: (uses: ReadonlyMap<string, number>) => Promise<void>;
  readonly #clock: Clock;
  /** Since the last write, by key. */
  #uses = new Map<string, number>();
  #timer: Timer | undefined;
  #writing: Promise<void> = Promise.resolve();
  #closed = false;

  /** @param write rejects if it could not be done, and is then tried again with the next */
  constructor(write: (uses: ReadonlyMap<string, number>) => Promise<void>, clock: Clock) {
    this.#write = write;
    this.#clock = clock;
  }

  note(id: string): void {
    this.#uses.set(id, this.#clock.wall());
    this.#arm();
  }

  /** When it was used since the last write. */
  get(id: string): number | undefined {
    return this.#uses.get(id);
  }

  /** Writes what is left; what cannot be written now is lost. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#timer?.cancel();
    await this.#writing;
    await this.#flush();
  }

  #arm(): void {
    if (this.#closed) return;
    this.#timer ??= this.#clock.after(WRITE_EVERY_MS, () => {
      this.#timer = undefined;
      this.#writing = this.#flush();
    });
  }

  async #flush(): Promise<void> {
    const uses = this.#uses;
    if (uses.size === 0) return;
    this.#uses = new Map();
    try {
      await this.#write(uses);
    } catch {
      // The database's trouble is told by whoever watches it. A later use of the same key counts.
      for (const [id, at] of uses) if (!this.#uses.has(id)) this.#uses.set(id, at);
      this.#arm();
    }
  }
}
