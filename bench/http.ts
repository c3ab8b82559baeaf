/** Where the parts of one HTTP/1.1 response go. Body bytes come as a range, to save a copy. */
export interface ResponseSink {
  head(status: number): void;
  body(from: Buffer, start: number, end: number): void;
  /** The response is complete. @param keepAlive whether the connection can carry another */
  end(keepAlive: boolean): void;
}

/** The peer sent something that is not HTTP/1.1. */
export class HttpSyntaxError extends Error {
  override readonly name = "HttpSyntaxError";
}

type Phase = "head" | "fixed" | "size" | "extension" | "chunk" | "chunk-end" | "trailer" | "until-close";

const CR = 13;
const LF = 10;

function hexValue(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

const CONNECTION = "\r\nconnection:";
const CONTENT_LENGTH = "\r\ncontent-length:";
const TRANSFER_ENCODING = "\r\ntransfer-encoding:";

/** @param name between the line break before it and its colon */
function fieldOf(head: string, name: string): string | undefined {
  const at = head.indexOf(name);
  if (at < 0) return undefined;
  const from = at + name.length;
  const end = head.indexOf("\r\n", from);
  return head.slice(from, end < 0 ? head.length : end).trim();
}

/**
 * Reads HTTP/1.1 responses (RFC 9112) off one connection, however its bytes are cut. Only what a
 * generator needs: no HEAD, no upgrade, informational responses are skipped.
 */
export class ResponseReader {
  #phase: Phase = "head";
  #pending: Buffer | undefined;
  #left = 0;
  #lineBytes = 0;
  #keepAlive = true;
  readonly #sink: ResponseSink;

  constructor(sink: ResponseSink) {
    this.#sink = sink;
  }

  /** @throws {HttpSyntaxError} if the bytes are not a response; the connection is then of no more use */
  push(bytes: Buffer): void {
    let at = 0;
    while (at < bytes.length) {
      switch (this.#phase) {
        case "head":
          at = this.#readHead(bytes, at);
          break;
        case "fixed":
        case "chunk": {
          const end = Math.min(bytes.length, at + this.#left);
          this.#sink.body(bytes, at, end);
          this.#left -= end - at;
          at = end;
          if (this.#left === 0) this.#endOfPart();
          break;
        }
        case "until-close":
          this.#sink.body(bytes, at, bytes.length);
          at = bytes.length;
          break;
        case "size":
        case "extension":
          this.#readSize(bytes[at++] ?? 0);
          break;
        case "chunk-end":
          if ((bytes[at++] ?? 0) === LF) this.#startSize();
          break;
        case "trailer":
          this.#readTrailer(bytes[at++] ?? 0);
          break;
      }
    }
  }

  /** The connection ended. @returns false if that cut a response short */
  close(): boolean {
    if (this.#phase === "until-close") {
      this.#finish();
      return true;
    }
    return this.#phase === "head" && this.#pending === undefined;
  }

  #readHead(bytes: Buffer, at: number): number {
    const held = this.#pending;
    const all = held === undefined ? bytes.subarray(at) : Buffer.concat([held, bytes.subarray(at)]);
    const end = all.indexOf("\r\n\r\n");
    if (end < 0) {
      if (all.length > 65_536) throw new HttpSyntaxError("Cannot read the response: its head is over 64 KiB");
      this.#pending = Buffer.from(all);
      return bytes.length;
    }
    this.#pending = undefined;
    this.#startBody(all.toString("latin1", 0, end));
    return at + end + 4 - (held?.length ?? 0);
  }

  #startBody(head: string): void {
    const status = Number(/^HTTP\/1\.[01] (\d{3})(?: |\r|$)/.exec(head)?.[1]);
    if (Number.isNaN(status))
      throw new HttpSyntaxError(
        `Cannot read the response: it starts with ${JSON.stringify(head.slice(0, 40))}`,
      );
    if (status < 200) return;
    // Looked for where they stand: taking all of them apart, a subject would be blamed for each field it has.
    const fields = head.toLowerCase();
    this.#keepAlive = fieldOf(fields, CONNECTION) !== "close" && !fields.startsWith("http/1.0");
    this.#sink.head(status);
    const length = fieldOf(fields, CONTENT_LENGTH);
    if (fieldOf(fields, TRANSFER_ENCODING)?.endsWith("chunked") === true) {
      this.#startSize();
    } else if (length !== undefined) {
      this.#left = Number(length);
      this.#phase = "fixed";
      if (this.#left === 0) this.#finish();
    } else if (status === 204 || status === 304) {
      this.#finish();
    } else {
      this.#keepAlive = false;
      this.#phase = "until-close";
    }
  }

  #startSize(): void {
    this.#phase = "size";
    this.#left = 0;
    this.#lineBytes = 0;
  }

  #readSize(byte: number): void {
    if (byte === LF) {
      if (this.#lineBytes === 0) throw new HttpSyntaxError("Cannot read the response: a chunk has no size");
      this.#phase = this.#left === 0 ? "trailer" : "chunk";
      this.#lineBytes = 0;
    } else if (this.#phase === "size" && byte !== CR) {
      const digit = hexValue(byte);
      if (digit >= 0) {
        this.#left = this.#left * 16 + digit;
        this.#lineBytes++;
      } else if (byte === 59 || byte === 32) {
        this.#phase = "extension";
      } else {
        throw new HttpSyntaxError(`Cannot read the response: byte ${byte} in the size of a chunk`);
      }
    }
  }

  #readTrailer(byte: number): void {
    if (byte === LF && this.#lineBytes === 0) this.#finish();
    else if (byte === LF) this.#lineBytes = 0;
    else if (byte !== CR) this.#lineBytes++;
  }

  #endOfPart(): void {
    if (this.#phase === "chunk") this.#phase = "chunk-end";
    else this.#finish();
  }

  #finish(): void {
    this.#phase = "head";
    this.#lineBytes = 0;
    this.#sink.end(this.#keepAlive);
  }
}
