import { CLOSE, V2_MAX_BODY, V2_MAX_TEXT } from "./limits.ts";
import { ProtocolError } from "./messages.ts";

/**
 * Frames of protocol v2, on any carrier that delivers bytes in order.
 *
 * ```
 *  0                   1                   2                   3
 *  0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1 2 3 4 5 6 7 8 9 0 1
 * +-----------------------------------------------+---------------+
 * |                payload length (24)            |    type (8)   |
 * +-----------------------------------------------+---------------+
 * |                         request (32)                          |
 * +---------------------------------------------------------------+
 * |                          payload …
 * ```
 *
 * Numbers are big-endian. `request` is 0 for what belongs to the link itself. A message of the carrier
 * holds any number of frames; where one message ends and the next begins means nothing.
 */
export const FRAME = {
  /** JSON with a `type` of v1: register, register_ack, models_update, models_refresh, graceful_shutdown, error. */
  control: 0x01,
  /** Relay to worker, JSON: a request without its body. */
  request: 0x02,
  /** Worker to relay, JSON: status and header fields. */
  head: 0x03,
  /** A part of a body, as it is. */
  body: 0x04,
  /** The body is complete. JSON or empty: of a response, what was counted. */
  end: 0x05,
  /** Worker to relay, JSON: the response cannot be had, or broke off. */
  fail: 0x06,
  /** Relay to worker, JSON: the request is taken back. */
  cancel: 0x07,
  /** 4 bytes: so many more bytes of the body may be sent. */
  credit: 0x08,

  /** 8 bytes: how many counted frames have come. */
  ack: 0x80,
  /** 8 bytes: ms since the epoch, to be sent back. */
  ping: 0x81,
  /** 4 bytes load, then the 8 bytes of the ping. */
  pong: 0x82,
  /** Worker to relay, JSON: first on a new carrier, to go on with a session. */
  resume: 0x83,
  /** Relay to worker, JSON: the session goes on. */
  resumed: 0x84,
  /** Relay to worker, JSON: there is no such session. */
  refused: 0x85,
  /** Frames, compressed; once both ends have said that they can. */
  packed: 0x86,
} as const;

/** Types from here on are about the carrier they come on: they are not counted, and not sent again. */
export const FIRST_UNCOUNTED = 0x80;

export const HEADER_BYTES = 8;
export const MAX_REQUEST_NUMBER = 0xffff_ffff;

/** What a decoder tells of each frame; the payload is a view of what was fed. */
export type FrameHandler = (type: number, request: number, payload: Uint8Array<ArrayBuffer>) => void;

export function isCounted(type: number): boolean {
  return type < FIRST_UNCOUNTED;
}

/** Longest payload of a type. What is not known may be as long as the longest that is. */
function longest(type: number): number {
  switch (type) {
    case FRAME.body:
      return V2_MAX_BODY;
    case FRAME.credit:
      return 4;
    case FRAME.ack:
    case FRAME.ping:
      return 8;
    case FRAME.pong:
      return 12;
    default:
      return V2_MAX_TEXT;
  }
}

export function writeHeader(
  into: Uint8Array,
  at: number,
  type: number,
  request: number,
  length: number,
): void {
  into[at] = length >>> 16;
  into[at + 1] = length >>> 8;
  into[at + 2] = length;
  into[at + 3] = type;
  into[at + 4] = request >>> 24;
  into[at + 5] = request >>> 16;
  into[at + 6] = request >>> 8;
  into[at + 7] = request;
}

/** One frame about a carrier, outside of what a channel counts. */
export function jsonFrame(type: number, value: object): Uint8Array<ArrayBuffer> {
  const payload = Buffer.from(JSON.stringify(value));
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  writeHeader(frame, 0, type, 0, payload.length);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Length of the payload whose header stands at `at`. */
export function payloadLength(bytes: Uint8Array, at: number): number {
  return (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
}

/**
 * Takes frames out of bytes as they come, however they are cut. Holds no more than one unfinished frame.
 */
export class FrameDecoder {
  readonly #handle: FrameHandler;
  /** What is there of an unfinished frame. */
  #rest: Uint8Array<ArrayBuffer> | undefined;
  #restLength = 0;

  constructor(handle: FrameHandler) {
    this.#handle = handle;
  }

  /** Bytes that wait for the end of their frame. */
  get held(): number {
    return this.#restLength;
  }

  /**
   * Calls the handler for each frame that is complete, in order. If the handler throws, the rest of
   * `bytes` is not looked at, and the decoder is of no use any more.
   *
   * @param bytes kept until the handler has let go of the payloads: not to be written to again
   * @throws {ProtocolError} if a frame is longer than its type may be
   */
  push(bytes: Uint8Array<ArrayBuffer>): void {
    let at = this.#restLength > 0 ? this.#finishRest(bytes) : 0;
    while (bytes.length - at >= HEADER_BYTES) {
      const end = at + HEADER_BYTES + this.#checkedLength(bytes, at);
      if (end > bytes.length) break;
      this.#emit(bytes, at, end);
      at = end;
    }
    if (at < bytes.length) this.#keep(bytes, at);
  }

  #emit(bytes: Uint8Array<ArrayBuffer>, at: number, end: number): void {
    const request =
      ((bytes[at + 4]! << 24) | (bytes[at + 5]! << 16) | (bytes[at + 6]! << 8) | bytes[at + 7]!) >>> 0;
    this.#handle(bytes[at + 3]!, request, bytes.subarray(at + HEADER_BYTES, end));
  }

  #checkedLength(bytes: Uint8Array, at: number): number {
    const length = payloadLength(bytes, at);
    const type = bytes[at + 3]!;
    if (length <= longest(type)) return length;
    throw new ProtocolError(
      `Cannot take a frame of type ${type} with ${length} bytes: ${longest(type)} are allowed`,
      CLOSE.tooLarge,
    );
  }

  /** @returns how much of `bytes` belonged to the frame that had begun before */
  #finishRest(bytes: Uint8Array<ArrayBuffer>): number {
    let at = 0;
    if (this.#restLength < HEADER_BYTES) {
      at = this.#append(bytes, 0, HEADER_BYTES);
      if (this.#restLength < HEADER_BYTES) return at;
    }
    const rest = this.#rest!;
    const whole = HEADER_BYTES + this.#checkedLength(rest, 0);
    at = this.#append(bytes, at, whole);
    if (this.#restLength < whole) return at;
    const frame = this.#rest!;
    this.#rest = undefined;
    this.#restLength = 0;
    this.#emit(frame, 0, whole);
    return at;
  }

  /** Adds bytes until `wanted` are held; the buffer grows once, when the length is known. */
  #append(bytes: Uint8Array<ArrayBuffer>, at: number, wanted: number): number {
    const count = Math.min(wanted - this.#restLength, bytes.length - at);
    if (this.#rest === undefined || this.#rest.length < wanted) {
      const larger = new Uint8Array(wanted);
      if (this.#rest !== undefined) larger.set(this.#rest.subarray(0, this.#restLength));
      this.#rest = larger;
    }
    this.#rest.set(bytes.subarray(at, at + count), this.#restLength);
    this.#restLength += count;
    return at + count;
  }

  #keep(bytes: Uint8Array<ArrayBuffer>, at: number): void {
    const there = bytes.length - at;
    const whole = there < HEADER_BYTES ? HEADER_BYTES : HEADER_BYTES + this.#checkedLength(bytes, at);
    this.#rest = new Uint8Array(whole);
    this.#rest.set(bytes.subarray(at));
    this.#restLength = there;
  }
}
