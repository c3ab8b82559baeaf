import { connect, type Socket } from "node:net";
import { CHAT } from "../contract/promise.ts";

/**
 * An HTTP client of raw TCP: it stops reading, dribbles, leaves and resets when a test says so, and it
 * says whether an answer came whole. One request a connection.
 */
export class RawClient {
  status: number | undefined;
  headers: Record<string, string> = {};
  /** Body bytes that have come. */
  received = 0;
  /** Resolves when the connection has ended: whether the answer was whole by then. */
  readonly ended: Promise<"whole" | "broken">;
  readonly #socket: Socket;
  #parts: Buffer[] = [];
  #held: Buffer = Buffer.alloc(0);
  /** Bytes left of the chunk or the body; `undefined` where a chunk's size comes next. */
  #left: number | undefined;
  #chunked = false;
  #whole = false;
  #closed = false;
  #waiting: { holds: () => boolean; resolve: () => void; reject: (error: Error) => void }[] = [];

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (data) => this.#take(data as Buffer));
    // The close that follows says what is to be said.
    socket.on("error", () => {});
    this.ended = new Promise((resolve) => {
      socket.once("close", () => {
        this.#closed = true;
        this.#look();
        resolve(this.#whole ? "whole" : "broken");
      });
    });
  }

  static connect(port: number): Promise<RawClient> {
    const socket = connect(port, "127.0.0.1");
    socket.setNoDelay(true);
    const client = new RawClient(socket);
    return new Promise((resolve, reject) => {
      socket.once("connect", () => resolve(client));
      socket.once("error", reject);
    });
  }

  /** Connects and posts a chat request. */
  static async chat(port: number, more: Record<string, unknown> = {}): Promise<RawClient> {
    const client = await RawClient.connect(port);
    const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: "hi" }], ...more });
    client.write(postHead(Buffer.byteLength(body)) + body);
    return client;
  }

  get body(): Buffer {
    return Buffer.concat(this.#parts);
  }

  get text(): string {
    return this.body.toString();
  }

  get whole(): boolean {
    return this.#whole;
  }

  write(data: string | Uint8Array): void {
    this.#socket.write(data);
  }

  /** Reads nothing more until `resume`; the kernel's buffers fill up. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  leave(how: "close" | "reset" = "close"): void {
    if (how === "reset") this.#socket.resetAndDestroy();
    else this.#socket.destroy();
  }

  /** Resolves when `holds` does; it is asked after each piece that comes. */
  until(holds: () => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ holds, resolve, reject });
      this.#look();
    });
  }

  head(): Promise<void> {
    return this.until(() => this.status !== undefined);
  }

  /** The answer's body, once it is whole. */
  async answer(): Promise<Buffer> {
    await this.until(() => this.#whole);
    this.#socket.destroy();
    return this.body;
  }

  #look(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const waiter of waiting) {
      if (waiter.holds()) waiter.resolve();
      else if (this.#closed) waiter.reject(new Error(`The connection ended after ${this.received} bytes`));
      else this.#waiting.push(waiter);
    }
  }

  #take(data: Buffer): void {
    this.#held = this.#held.length === 0 ? data : Buffer.concat([this.#held, data]);
    if (this.status !== undefined || this.#readHead()) while (this.#readBody());
    this.#look();
  }

  #readHead(): boolean {
    const end = this.#held.indexOf("\r\n\r\n");
    if (end === -1) return false;
    const [statusLine = "", ...lines] = this.#held.toString("latin1", 0, end).split("\r\n");
    for (const line of lines) {
      const colon = line.indexOf(":");
      this.headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
    }
    this.status = Number(statusLine.split(" ")[1]);
    this.#held = this.#held.subarray(end + 4);
    this.#chunked = this.headers["transfer-encoding"] === "chunked";
    if (!this.#chunked) this.#left = Number(this.headers["content-length"]);
    return true;
  }

  /** @returns whether there may be more to read in what is held */
  #readBody(): boolean {
    if (this.#whole) return false;
    if (this.#left === undefined) return this.#readChunkSize();
    if (this.#left > 0) {
      const part = this.#held.subarray(0, this.#left);
      if (part.length === 0) return false;
      this.#parts.push(part);
      this.received += part.length;
      this.#left -= part.length;
      this.#held = this.#held.subarray(part.length);
      return true;
    }
    if (!this.#chunked) {
      this.#whole = true;
      return false;
    }
    // The line break behind a chunk's data.
    if (this.#held.length < 2) return false;
    this.#held = this.#held.subarray(2);
    this.#left = undefined;
    return true;
  }

  #readChunkSize(): boolean {
    const line = this.#held.indexOf("\r\n");
    if (line === -1) return false;
    const size = Number.parseInt(this.#held.toString("latin1", 0, line), 16);
    if (size === 0) {
      this.#whole = this.#held.length >= line + 4;
      return false;
    }
    this.#left = size;
    this.#held = this.#held.subarray(line + 2);
    return true;
  }
}

/** The head of a POST with a body of so many bytes. */
export function postHead(length: number, path = CHAT): string {
  return `POST ${path} HTTP/1.1\r\nhost: relay.test\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`;
}
