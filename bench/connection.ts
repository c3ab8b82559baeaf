import { HttpSyntaxError, ResponseReader } from "./http.ts";

/** A response whose body was handed to `onBody`, or kept if there was none. */
export interface Reply {
  status: number;
  /** Length of the body on the wire, transfer coding taken off. */
  bodyBytes: number;
  /** The body, when no `onBody` took it. */
  body: Buffer;
}

export type OnBody = (from: Buffer, start: number, end: number) => void;

interface Exchange {
  onBody: OnBody | undefined;
  reply: Reply;
  parts: Buffer[];
  resolve(reply: Reply): void;
  reject(error: Error): void;
}

/** What every request shows, as every SDK does, if its subject asks for no key of its own. */
const ANY_KEY = "none";

/**
 * `POST /v1/chat/completions` as bytes, head and body in one piece.
 *
 * @param baseUrl with a key as its user name, if the subject asks for one
 */
export function encodePost(baseUrl: URL, body: Buffer): Buffer {
  const path = `${baseUrl.pathname.replace(/\/$/, "")}/v1/chat/completions`;
  const head = `POST ${path} HTTP/1.1\r\nHost: ${baseUrl.host}\r\nContent-Type: application/json\r\nAccept: */*\r\nAuthorization: Bearer ${baseUrl.username || ANY_KEY}\r\nContent-Length: ${body.length}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

/**
 * One keep-alive HTTP/1.1 connection, one request at a time. Raw TCP rather than `fetch`: that one is
 * capped at 256 requests in a process and costs several times as much, which the subject would be blamed for.
 */
export class Connection {
  #socket: Bun.Socket | undefined;
  #exchange: Exchange | undefined;
  #unsent: Buffer | undefined;
  readonly #baseUrl: URL;
  /** Called with each piece that arrives, before it is read; lets a caller take the time once a piece. */
  onPiece: (() => void) | undefined;

  constructor(baseUrl: URL) {
    this.#baseUrl = baseUrl;
  }

  /**
   * Sends a request and resolves when its response is complete. Dials if there is no connection.
   *
   * @throws if the connection fails or the response is cut short or malformed; the next call dials anew
   */
  async exchange(request: Buffer, onBody?: OnBody): Promise<Reply> {
    this.#socket ??= await this.#dial();
    const socket = this.#socket;
    return new Promise<Reply>((resolve, reject) => {
      this.#exchange = {
        onBody,
        reply: { status: 0, bodyBytes: 0, body: Buffer.alloc(0) },
        parts: [],
        resolve,
        reject,
      };
      this.#unsent = request;
      this.#flush(socket);
    });
  }

  close(): void {
    this.#socket?.end();
    this.#socket = undefined;
  }

  #flush(socket: Bun.Socket): void {
    if (this.#unsent === undefined) return;
    const written = socket.write(this.#unsent);
    this.#unsent = written < this.#unsent.length ? this.#unsent.subarray(Math.max(written, 0)) : undefined;
  }

  #dial(): Promise<Bun.Socket> {
    const reader = new ResponseReader({
      head: (status) => {
        if (this.#exchange === undefined)
          throw new HttpSyntaxError("Cannot read the response: none was asked for");
        this.#exchange.reply.status = status;
      },
      body: (from, start, end) => {
        const exchange = this.#exchange;
        if (exchange === undefined) return;
        exchange.reply.bodyBytes += end - start;
        if (exchange.onBody !== undefined && exchange.reply.status === 200) exchange.onBody(from, start, end);
        else exchange.parts.push(Buffer.from(from.subarray(start, end)));
      },
      end: (keepAlive) => {
        const exchange = this.#exchange;
        this.#exchange = undefined;
        if (!keepAlive) this.close();
        if (exchange === undefined) return;
        if (exchange.parts.length > 0) exchange.reply.body = Buffer.concat(exchange.parts);
        exchange.resolve(exchange.reply);
      },
    });
    return Bun.connect({
      hostname: this.#baseUrl.hostname,
      port: Number(this.#baseUrl.port === "" ? 80 : this.#baseUrl.port),
      socket: {
        data: (socket, bytes) => {
          this.onPiece?.();
          try {
            reader.push(bytes);
          } catch (error) {
            socket.terminate();
            this.#fail(socket, error as Error);
          }
        },
        drain: (socket) => this.#flush(socket),
        close: (socket) => {
          const whole = reader.close();
          this.#fail(
            socket,
            new Error(
              `Cannot finish the response: the peer closed the connection${whole ? " before it answered" : " in the middle"}`,
            ),
          );
        },
        error: (socket, error) => this.#fail(socket, error),
      },
    });
  }

  #fail(socket: Bun.Socket, error: Error): void {
    // A connection that was replaced says nothing about the present request.
    if (this.#socket !== socket) return;
    this.#socket = undefined;
    this.#unsent = undefined;
    const exchange = this.#exchange;
    this.#exchange = undefined;
    exchange?.reject(error);
  }
}
