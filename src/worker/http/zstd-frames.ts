/** What is read of a frame, with its length in bytes; all else in it is passed over. */
const FIELDS = { magic: 4, "skipped length": 4, descriptor: 1, "block header": 3 } as const;

const FRAME_MAGIC = 0xfd2fb528;
const DICTIONARY_BYTES = [0, 1, 2, 4] as const;

/**
 * Follows the frames of Zstandard (RFC 8878 §3.1) to tell whether a body is whole: the runtime's
 * decompressor takes one that is cut short for complete. What is no such frame is the decompressor's to find.
 */
export class ZstdFrames {
  #field: keyof typeof FIELDS = "magic";
  /** Of the present field, what has come. */
  #value = 0;
  #bytes = 0;
  /** Bytes to pass over before it. */
  #skip = 0;
  #checksumBytes = 0;

  push(bytes: Uint8Array): void {
    let at = 0;
    while (at < bytes.length) {
      if (this.#skip > 0) {
        const passed = Math.min(this.#skip, bytes.length - at);
        this.#skip -= passed;
        at += passed;
        continue;
      }
      this.#value += bytes[at++]! * 256 ** this.#bytes;
      if (++this.#bytes < FIELDS[this.#field]) continue;
      this.#read(this.#value);
      this.#value = 0;
      this.#bytes = 0;
    }
  }

  /** Whether the last byte has ended a frame. */
  get whole(): boolean {
    return this.#field === "magic" && this.#bytes === 0 && this.#skip === 0;
  }

  #read(value: number): void {
    switch (this.#field) {
      case "magic":
        this.#field = value === FRAME_MAGIC ? "descriptor" : "skipped length";
        return;
      case "skipped length":
        this.#skip = value;
        this.#field = "magic";
        return;
      case "descriptor": {
        const single = (value & 0x20) !== 0;
        const sizeFlag = value >> 6;
        const sizeBytes = sizeFlag === 0 ? Number(single) : 1 << sizeFlag;
        this.#skip = Number(!single) + DICTIONARY_BYTES[(value & 3) as 0 | 1 | 2 | 3] + sizeBytes;
        this.#checksumBytes = value & 4;
        this.#field = "block header";
        return;
      }
      case "block header": {
        // A repeated byte stands there once, however long the block is.
        const repeats = ((value >> 1) & 3) === 1;
        this.#skip = repeats ? 1 : value >> 3;
        if ((value & 1) === 0) return;
        this.#skip += this.#checksumBytes;
        this.#field = "magic";
      }
    }
  }
}
