/** What is kept of each end of a long text: what usage stands in is far shorter. */
const END_BYTES = 16 * 1024;
const WHOLE_BYTES = 2 * END_BYTES;
const FIRST_BYTES = 1024;

/** A text that has come, as far as it was kept. */
export interface TextEnds {
  head: Uint8Array;
  /** `undefined` if the head is the whole text; else some of it is missing between the two. */
  tail: Uint8Array | undefined;
}

/** What is kept of a text that is here as a whole. */
export function endsOf(text: Uint8Array): TextEnds {
  if (text.length <= WHOLE_BYTES) return { head: new Uint8Array(text), tail: undefined };
  return {
    head: new Uint8Array(text.subarray(0, END_BYTES)),
    tail: new Uint8Array(text.subarray(-END_BYTES)),
  };
}

/** Gathers a text of any length, of which the beginning and the end are kept. */
export class LongText {
  /** First the head, then a ring with the rest; grows while the text is short. */
  #bytes = Buffer.alloc(0);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  push(part: Uint8Array): void {
    this.#grow(Math.min(this.#length + part.length, WHOLE_BYTES));
    let from = 0;
    while (from < part.length) {
      const at = this.#place();
      const room = Math.min(part.length - from, WHOLE_BYTES - at);
      this.#bytes.set(part.subarray(from, from + room), at);
      this.#length += room;
      from += room;
    }
  }

  /** Forgets the text, and keeps the memory for another one. */
  clear(): void {
    this.#length = 0;
  }

  /** What was kept; until more comes, or it is cleared. */
  ends(): TextEnds {
    if (this.#length <= WHOLE_BYTES) return { head: this.#bytes.subarray(0, this.#length), tail: undefined };
    const at = this.#place();
    const tail = Buffer.concat([this.#bytes.subarray(at), this.#bytes.subarray(END_BYTES, at)]);
    return { head: this.#bytes.subarray(0, END_BYTES), tail };
  }

  /** Where the next byte belongs. */
  #place(): number {
    return this.#length < WHOLE_BYTES ? this.#length : END_BYTES + ((this.#length - END_BYTES) % END_BYTES);
  }

  #grow(needed: number): void {
    if (needed <= this.#bytes.length) return;
    let size = Math.max(this.#bytes.length, FIRST_BYTES);
    while (size < needed) size *= 2;
    const bytes = Buffer.allocUnsafeSlow(size);
    bytes.set(this.#bytes);
    this.#bytes = bytes;
  }
}
