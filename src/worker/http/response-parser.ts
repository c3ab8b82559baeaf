import type { HeaderFields } from "../../protocol/messages.ts";
import { malformed, ResponseError } from "./response-error.ts";
import {
  couldBeHttp,
  endOfHead,
  keepsConnection,
  MAX_HEAD_BYTES,
  readHead,
  readLength,
  type Head,
} from "./response-head.ts";

/** What a parser tells of one response, in this order; each body part is the handler's to keep. */
export interface ResponseHandler {
  head(status: number, fields: HeaderFields): void;
  body(bytes: Uint8Array<ArrayBuffer>): void;
  /** @param reusable whether the connection may carry another request */
  end(reusable: boolean): void;
}

/** Of a chunk's size with its extensions, and of all trailer fields together. */
const MAX_LINE_BYTES = 16 * 1024;
/** Fourteen hexadecimal digits would no longer be exact as a number. */
const MAX_SIZE_DIGITS = 13;

const CR = 0x0d;
const LF = 0x0a;
const SEMICOLON = 0x3b;
const SPACE = 0x20;
const TAB = 0x09;

/** Where in a response the next byte belongs. */
type Place =
  | "head"
  /** A body of a known length. */
  | "counted"
  /** A body that the end of the connection ends. */
  | "open"
  | "size"
  | "extension"
  | "data"
  | "after data"
  | "trailer"
  | "done";

/**
 * Reads one response of HTTP/1.1 (RFC 9112) as it comes, however it is cut. Knows no socket and no time.
 *
 * It is called for each token of a stream: a chunk is not copied, and several in one read are moved
 * together and told as one part.
 */
export class ResponseParser {
  readonly #handler: ResponseHandler;
  readonly #bodiless: boolean;
  #place: Place = "head";
  /** Of an unfinished head, what has come. */
  #held: Buffer<ArrayBuffer> | undefined;
  #reusable = true;
  /** Bytes that the body, or its present chunk, still lacks. */
  #left = 0;
  #digits = 0;
  #lineBytes = 0;
  /** Whether a byte of the present trailer line has come. */
  #inLine = false;

  /** @param bodiless the request was a HEAD: whatever the fields say, no body follows (RFC 9112 §6.3) */
  constructor(handler: ResponseHandler, bodiless: boolean) {
    this.#handler = handler;
    this.#bodiless = bodiless;
  }

  /**
   * @param bytes the parser's from now on: chunks are moved within it
   * @throws {ResponseError} if this is no HTTP/1.1; the parser is of no use then
   */
  push(bytes: Buffer<ArrayBuffer>): void {
    let at = 0;
    while (this.#place === "head") {
      const rest = this.#readHead(at === 0 ? bytes : bytes.subarray(at));
      if (rest === undefined) return;
      // What is left of the last bytes: `#readHead` may have joined them with earlier ones.
      at = bytes.length - rest;
    }
    if (at < bytes.length) this.#readBody(bytes, at);
  }

  /** The other end has closed the connection. @throws {ResponseError} if the response is not complete */
  close(): void {
    if (this.#place === "open") this.#finish(false);
    if (this.#place !== "done")
      throw new ResponseError("ConnectionClosed", "The connection was closed before the answer was complete");
  }

  /** Tells nothing more. */
  stop(): void {
    this.#place = "done";
  }

  /** @returns how many bytes follow the head; `undefined` while it is not complete */
  #readHead(bytes: Buffer<ArrayBuffer>): number | undefined {
    const all = this.#held === undefined ? bytes : Buffer.concat([this.#held, bytes]);
    if (!couldBeHttp(all)) throw malformed("The answer does not begin with HTTP/1.1");
    // An empty line may have begun with the last two bytes of what was looked through before.
    const end = endOfHead(all, Math.max((this.#held?.length ?? 0) - 2, 0));
    if (end > MAX_HEAD_BYTES || (end < 0 && all.length > MAX_HEAD_BYTES))
      throw new ResponseError("ResponseHeadersTooLarge", `The head takes more than ${MAX_HEAD_BYTES} bytes`);
    if (end < 0) {
      this.#held = all;
      return undefined;
    }
    this.#held = undefined;
    this.#begin(readHead(all.toString("latin1", 0, end)), end === all.length);
    return all.length - end;
  }

  /** @param last nothing follows the head so far */
  #begin(head: Head, last: boolean): void {
    const { status, isHttp11, fields } = head;
    if (status === 101) throw new ResponseError("UnrequestedUpgrade", "The protocol was changed unasked");
    // An interim response: the final one follows (RFC 9110 §15.2).
    if (status >= 100 && status < 200) return;
    this.#reusable = keepsConnection(head);
    this.#place = this.#framing(status, fields);
    // Nothing older than HTTP/1.1 knows chunks: who sent them may mean another end (RFC 9112 §6.1).
    if (this.#place === "size" && !isHttp11) this.#reusable = false;
    const complete = this.#place === "counted" && this.#left === 0;
    this.#handler.head(status, fields);
    if (complete && this.#place === "counted") this.#finish(last);
  }

  /** RFC 9112 §6.3. */
  #framing(status: number, fields: HeaderFields): Place {
    const coding = fields["transfer-encoding"];
    const declared = fields["content-length"];
    if (this.#bodiless || status === 204 || status === 304) return "counted";
    if (coding !== undefined) {
      if (coding.toLowerCase() !== "chunked") throw malformed("The transfer coding is not chunked");
      // Two lengths: whoever wrote that may mean something else by what follows.
      if (declared !== undefined) this.#reusable = false;
      return "size";
    }
    if (declared === undefined) return "open";
    this.#left = readLength(declared);
    return "counted";
  }

  #readBody(bytes: Buffer<ArrayBuffer>, at: number): void {
    switch (this.#place) {
      case "counted": {
        const end = Math.min(at + this.#left, bytes.length);
        this.#left -= end - at;
        this.#handler.body(bytes.subarray(at, end));
        if (this.#left === 0 && this.#place === "counted") this.#finish(end === bytes.length);
        return;
      }
      case "open":
        return this.#handler.body(bytes.subarray(at));
      case "head":
      case "done":
        return;
      case "size":
      case "extension":
      case "data":
      case "after data":
      case "trailer":
        return this.#readChunks(bytes, at);
    }
  }

  /** RFC 9112 §7.1. */
  #readChunks(bytes: Buffer<ArrayBuffer>, from: number): void {
    let at = from;
    // The data of all chunks in `bytes`, moved together.
    let start = -1;
    let to = -1;
    while (at < bytes.length) {
      switch (this.#place) {
        case "data": {
          const end = Math.min(at + this.#left, bytes.length);
          if (start < 0) start = to = at;
          else bytes.copyWithin(to, at, end);
          to += end - at;
          this.#left -= end - at;
          at = end;
          if (this.#left === 0) this.#place = "after data";
          break;
        }
        case "after data":
          if (bytes[at] === LF) this.#beginSize();
          else if (bytes[at] !== CR) throw malformed("A chunk is longer than its size");
          at++;
          break;
        case "trailer":
          if (this.#endsTrailer(bytes[at++]!)) {
            if (to > start) this.#handler.body(bytes.subarray(start, to));
            if (this.#place === "trailer") this.#finish(at === bytes.length);
            return;
          }
          break;
        case "size":
        case "extension":
          this.#readSize(bytes[at++]!);
          break;
        case "head":
        case "counted":
        case "open":
        case "done":
          return;
      }
    }
    if (to > start) this.#handler.body(bytes.subarray(start, to));
  }

  #beginSize(): void {
    this.#place = "size";
    this.#left = 0;
    this.#digits = 0;
    this.#lineBytes = 0;
  }

  #readSize(byte: number): void {
    if (++this.#lineBytes > MAX_LINE_BYTES) throw malformed("A chunk's size takes too many bytes");
    if (byte === LF) {
      if (this.#digits === 0) throw malformed("A chunk has no size");
      this.#lineBytes = 0;
      this.#inLine = false;
      this.#place = this.#left === 0 ? "trailer" : "data";
      return;
    }
    if (this.#place === "extension") return;
    if (byte === SEMICOLON || byte === SPACE || byte === TAB || byte === CR) {
      this.#place = "extension";
      return;
    }
    const digit = hexDigit(byte);
    if (digit < 0 || ++this.#digits > MAX_SIZE_DIGITS) throw malformed("A chunk's size is no number");
    this.#left = this.#left * 16 + digit;
  }

  #endsTrailer(byte: number): boolean {
    if (++this.#lineBytes > MAX_LINE_BYTES) throw malformed("The trailer fields take too many bytes");
    if (byte === LF) {
      if (!this.#inLine) return true;
      this.#inLine = false;
    } else if (byte !== CR) {
      this.#inLine = true;
    }
    return false;
  }

  /** @param clean nothing follows the response, which nobody has asked for */
  #finish(clean: boolean): void {
    this.#place = "done";
    this.#handler.end(this.#reusable && clean);
  }
}

function hexDigit(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
