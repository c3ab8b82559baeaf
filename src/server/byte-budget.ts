/** The rest of a finished answer, which its client has not read yet. */
export interface Leftover {
  readonly heldBytes: number;
  /** Gives the bytes back at once; its client sees that the answer is not whole. */
  abandon(reason: string): void;
}

/**
 * A number of bytes that may be held at once, shared by everybody who holds some. Whoever finds no room
 * takes the largest leftovers away: nothing else ends a client that never reads the rest of its answer.
 */
export class ByteBudget {
  readonly limit: number;
  readonly #leftovers = new Set<Leftover>();
  #held = 0;

  constructor(limit: number) {
    this.limit = limit;
  }

  get held(): number {
    return this.#held;
  }

  /** @returns whether the bytes were there; if not, nothing was taken */
  take(bytes: number): boolean {
    if (this.#held + bytes > this.limit) this.#reclaim(bytes);
    if (this.#held + bytes > this.limit) return false;
    this.#held += bytes;
    return true;
  }

  /** The bytes of `leftover` are still taken, and may be asked back. */
  leave(leftover: Leftover): void {
    this.#leftovers.add(leftover);
  }

  /** Nothing of `leftover` is held any more. */
  settle(leftover: Leftover): void {
    this.#leftovers.delete(leftover);
  }

  give(bytes: number): void {
    this.#held -= bytes;
  }

  #reclaim(wanted: number): void {
    let reclaimable = this.limit - this.#held;
    for (const leftover of this.#leftovers) reclaimable += leftover.heldBytes;
    // Nobody loses an answer to one who cannot be helped by it.
    if (wanted > reclaimable) return;
    const largestFirst = [...this.#leftovers].sort((a, b) => b.heldBytes - a.heldBytes);
    for (const leftover of largestFirst) {
      if (this.#held + wanted <= this.limit) return;
      leftover.abandon("The relay let go of a client that does not read");
    }
  }
}
