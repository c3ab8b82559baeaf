import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import { CLOSE, V2_MAX_TEXT, V2_MAX_UNPACKED } from "./limits.ts";
import { FRAME, HEADER_BYTES, writeHeader } from "./frames.ts";
import { ProtocolError } from "./messages.ts";

/**
 * Compression of frames on a slow link: what is ready together leaves as one `packed` frame.
 *
 * All that one end packs on one carrier is one stream of DEFLATE (RFC 1951), flushed at the end of each
 * frame (`Z_SYNC_FLUSH`), so that nothing waits for company and a token costs what is new in it. There is
 * no stream compressor that works within a turn, so that each piece is made by itself, with what came
 * before as its dictionary; on the wire that is the same.
 */

/** How far back DEFLATE may point. */
const REACH_BYTES = 32 * 1024;
/**
 * What the packing end remembers: searching all of its reach takes four times as long (48 µs instead of
 * 13 for a token) and saves less than a fiftieth.
 */
const MEMORY_BYTES = 8 * 1024;
/** A token takes as long on each level; a body of 360 kB takes 2.6 ms, and 9.8 on the usual level 6. */
const LEVEL = 3;
/** What is smaller hardly shrinks: acknowledgements, pings, credits. */
const MIN_BYTES = 64;
/** Up to this, what is not shorter leaves packed all the same. */
const SEED_BYTES = 2 * 1024;

/** The last bytes of a stream. */
class Tail {
  readonly #size: number;
  #bytes: Buffer<ArrayBuffer> = Buffer.alloc(0);

  constructor(size: number) {
    this.#size = size;
  }

  get options(): { dictionary?: Buffer } {
    return this.#bytes.length === 0 ? {} : { dictionary: this.#bytes };
  }

  add(bytes: Uint8Array): void {
    const kept = Math.max(0, Math.min(this.#bytes.length, this.#size - bytes.length));
    this.#bytes = Buffer.concat([
      this.#bytes.subarray(this.#bytes.length - kept),
      bytes.subarray(-this.#size),
    ]);
  }
}

/** Packs what goes over one carrier. */
export class Packer {
  readonly #tail = new Tail(MEMORY_BYTES);

  /**
   * @param frames whole ones
   * @returns one frame with all of them in it; `frames` where that would not pay
   */
  pack(frames: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    if (frames.length < MIN_BYTES || frames.length > V2_MAX_UNPACKED) return frames;
    const payload = deflateRawSync(frames, {
      level: LEVEL,
      finishFlush: constants.Z_SYNC_FLUSH,
      ...this.#tail.options,
    });
    // What is not sent is not part of the stream, so that nothing has to be remembered of it. A first small
    // piece is hardly ever shorter, but those after it are, as they resemble it.
    const limit = frames.length <= SEED_BYTES ? V2_MAX_TEXT : frames.length - HEADER_BYTES;
    if (payload.length >= limit) return frames;
    this.#tail.add(frames);
    const frame = new Uint8Array(HEADER_BYTES + payload.length);
    writeHeader(frame, 0, FRAME.packed, 0, payload.length);
    frame.set(payload, HEADER_BYTES);
    return frame;
  }
}

/** Unpacks what comes over one carrier. */
export class Unpacker {
  readonly #tail = new Tail(REACH_BYTES);

  /** @throws {ProtocolError} for what was never packed, or is longer than it may be */
  unpack(payload: Uint8Array): Uint8Array<ArrayBuffer> {
    let frames: Buffer<ArrayBuffer>;
    try {
      frames = inflateRawSync(payload, {
        finishFlush: constants.Z_SYNC_FLUSH,
        maxOutputLength: V2_MAX_UNPACKED,
        ...this.#tail.options,
      });
    } catch (error) {
      if ((error as { code?: unknown }).code === "ERR_BUFFER_TOO_LARGE")
        throw new ProtocolError(
          `Cannot unpack more than ${V2_MAX_UNPACKED} bytes from one frame`,
          CLOSE.tooLarge,
        );
      throw new ProtocolError("Cannot unpack a frame: it is not DEFLATE", CLOSE.protocol);
    }
    this.#tail.add(frames);
    return frames;
  }
}
