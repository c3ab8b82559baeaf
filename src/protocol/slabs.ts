import { V2_BATCH } from "./limits.ts";

/** Memory that frames are written into one behind the other, and used again when all have been received. */
export interface Slab {
  bytes: Buffer<ArrayBuffer>;
  /** Messages in it that are kept. */
  users: number;
}

/**
 * A slab is small at first, for links that say little, and each further one twice as large. Without using
 * them again a tenth of a busy worker's time went into fresh memory (2026-11).
 */
const FIRST_BYTES = 16 * 1024;
const LARGEST_BYTES = V2_BATCH;
const MAX_SPARE = 4;

/** The memory of one end of a link: those slabs that nothing is written to, and nothing in which is kept. */
export class Slabs {
  readonly #spare: Slab[] = [];

  /** One to begin with. */
  first(): Slab {
    return newSlab(FIRST_BYTES);
  }

  /** One to go on with, after a slab that is full. */
  after(full: Slab, atLeast: number): Slab {
    this.retire(full);
    const fitting = this.#spare.findIndex(({ bytes }) => bytes.length >= atLeast);
    const spare = this.#spare.splice(fitting, fitting < 0 ? 0 : 1)[0];
    return spare ?? newSlab(Math.max(Math.min(full.bytes.length * 2, LARGEST_BYTES), atLeast));
  }

  /** The slab can be written to again, unless something in it is kept. */
  retire(slab: Slab): void {
    if (slab.users === 0 && this.#spare.length < MAX_SPARE) this.#spare.push(slab);
  }

  /** Lets go of what a burst needed. @returns the slab to go on with */
  trim(present: Slab): Slab {
    this.#spare.length = 0;
    return present.bytes.length > FIRST_BYTES ? this.first() : present;
  }
}

function newSlab(size: number): Slab {
  return { bytes: Buffer.allocUnsafeSlow(size), users: 0 };
}
