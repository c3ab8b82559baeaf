/** Numbers that are the same in each run: mulberry32 from one seed. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed | 0;
  }

  /** 32 bits. */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    const state = this.#state;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return (mixed ^ (mixed >>> 14)) >>> 0;
  }

  /** A whole number from 0 to `limit` - 1; 0 if there is none. */
  below(limit: number): number {
    return limit <= 1 ? 0 : this.next() % limit;
  }

  /** True once in `times`. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(from: readonly T[]): T {
    if (from.length === 0) throw new RangeError("Cannot pick from nothing");
    return from[this.below(from.length)]!;
  }

  bytes(length: number): Uint8Array<ArrayBuffer> {
    const bytes = new Uint8Array(length);
    for (let at = 0; at < length; at += 4) {
      const word = this.next();
      bytes[at] = word;
      bytes[at + 1] = word >>> 8;
      bytes[at + 2] = word >>> 16;
      bytes[at + 3] = word >>> 24;
    }
    return bytes;
  }

  /** The same bytes in pieces, some of them empty; now and then each byte by itself, if they are not many. */
  split(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
    const pieces: Uint8Array<ArrayBuffer>[] = [];
    const least = Math.ceil(bytes.length / 1_000);
    const longest = this.pick([least, 7 * least, 40 * least, bytes.length + 1]);
    for (let at = 0; at < bytes.length;) {
      const length = longest === 1 ? 1 : this.below(longest + 1);
      pieces.push(bytes.slice(at, at + length));
      at += length;
    }
    return pieces;
  }
}

/** The seed of one run of many, so that each can be run by itself. */
export function seedOf(seed: number, run: number): number {
  return (Math.imul(seed, 0x9e3779b1) ^ Math.imul(run + 1, 0x85ebca6b)) | 0;
}

/** Runs a property for many seeds; what it throws says which seed it was. */
export function forSeeds(count: number, property: (random: Random, seed: number) => void, first = 1): void {
  for (let seed = first; seed < first + count; seed++) {
    try {
      property(new Random(seed), seed);
    } catch (error) {
      throw new Error(`With seed ${seed}: ${error instanceof Error ? error.message : String(error)}`, {
        cause: error,
      });
    }
  }
}
