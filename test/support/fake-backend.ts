import { createServer, type AddressInfo, type Socket } from "node:net";
import { Inbox } from "./inbox.ts";

/**
 * An inference server of raw TCP, so that a test decides each byte and each cut. `GET /v1/models` is
 * answered from `models`, `/health` with 404; every other request waits in the inbox for the test to answer it.
 */
export interface FakeBackend extends AsyncDisposable {
  url: string;
  port: number;
  models: string[];
  /** Requests that were answered with the list of models. */
  listed: number;
  /** Requests that the test has to answer. */
  exchanges: Inbox<Exchange>;
  next(): Promise<Exchange>;
  /** Connections open now. */
  connections(): number;
  stop(): Promise<void>;
}

/** One request, and the means to answer it. */
export class Exchange {
  readonly method: string;
  readonly path: string;
  readonly headers: Record<string, string>;
  readonly body: Buffer;
  /** Resolves when the connection is gone, whoever closed it. */
  readonly closed: Promise<void>;
  readonly #socket: Socket;
  readonly #finished: () => void;
  #chunked = false;

  constructor(
    request: { method: string; path: string; headers: Record<string, string>; body: Buffer },
    socket: Socket,
    finished: () => void,
  ) {
    this.method = request.method;
    this.path = request.path;
    this.headers = request.headers;
    this.body = request.body;
    this.#socket = socket;
    this.#finished = finished;
    this.closed = new Promise((resolve) => socket.once("close", () => resolve()));
  }

  json(): unknown {
    return JSON.parse(this.body.toString());
  }

  /** Without a content length the body is chunked. */
  head(status: number, headers: Record<string, string> = {}): void {
    this.#chunked = !("content-length" in headers);
    const fields = { ...headers, ...(this.#chunked && { "transfer-encoding": "chunked" }) };
    const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
    this.raw(`HTTP/1.1 ${status} Scripted\r\n${lines.join("")}\r\n`);
  }

  write(data: string | Uint8Array): void {
    const bytes = Buffer.from(data as string);
    if (bytes.length === 0) return;
    this.raw(
      this.#chunked
        ? Buffer.concat([Buffer.from(`${bytes.length.toString(16)}\r\n`), bytes, Buffer.from("\r\n")])
        : bytes,
    );
  }

  /** Writes in pieces of `size` bytes, each in a turn of its own. */
  async writeSplit(data: string | Uint8Array, size: number): Promise<void> {
    const bytes = Buffer.from(data as string);
    for (let at = 0; at < bytes.length; at += size) {
      this.write(bytes.subarray(at, at + size));
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Resolves once the kernel has taken all that was written so far. */
  flushed(): Promise<void> {
    return new Promise((resolve) => this.#socket.write("", () => resolve()));
  }

  end(): void {
    if (this.#chunked) this.raw("0\r\n\r\n");
    this.#finished();
  }

  /** A whole answer. */
  answer(status: number, body: unknown, headers: Record<string, string> = {}): void {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    this.head(status, {
      "content-type": "application/json",
      ...headers,
      "content-length": String(Buffer.byteLength(text)),
    });
    this.write(text);
    this.end();
  }

  raw(data: string | Uint8Array): void {
    this.#socket.write(data);
  }

  /** Ends the connection in the middle of things. */
  cut(): void {
    this.#socket.end();
  }

  /** The same, with a TCP reset. */
  reset(): void {
    this.#socket.resetAndDestroy();
  }
}

/** @param port 0: any */
export async function startFakeBackend(models: string[] = ["tiny"], port = 0): Promise<FakeBackend> {
  const exchanges = new Inbox<Exchange>();
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    let held: Buffer = Buffer.alloc(0);
    let busy = false;
    const read = (): void => {
      const parsed = busy ? undefined : parseRequest(held);
      if (parsed === undefined) return;
      held = held.subarray(parsed.length);
      busy = true;
      const exchange = new Exchange(parsed, socket, () => {
        busy = false;
        read();
      });
      if (exchange.path === "/v1/models" && exchange.method === "GET") {
        backend.listed++;
        exchange.answer(200, { object: "list", data: backend.models.map((id) => ({ id, object: "model" })) });
      } else if (exchange.path === "/health") {
        exchange.answer(404, { error: "not found" });
      } else {
        exchanges.put(exchange);
      }
    };
    socket.on("data", (data) => {
      held = Buffer.concat([held, data as Buffer]);
      read();
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, "127.0.0.1", resolve);
  });
  const stop = async (): Promise<void> => {
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  };
  const address = server.address() as AddressInfo;
  const backend: FakeBackend = {
    url: `http://127.0.0.1:${address.port}`,
    port: address.port,
    models,
    listed: 0,
    exchanges,
    next: () => exchanges.next(),
    connections: () => sockets.size,
    stop,
    [Symbol.asyncDispose]: stop,
  };
  return backend;
}

function parseRequest(
  held: Buffer,
):
  | { method: string; path: string; headers: Record<string, string>; body: Buffer; length: number }
  | undefined {
  const headEnd = held.indexOf("\r\n\r\n");
  if (headEnd === -1) return undefined;
  const [requestLine = "", ...lines] = held.toString("latin1", 0, headEnd).split("\r\n");
  const headers: Record<string, string> = {};
  for (const line of lines) {
    const colon = line.indexOf(":");
    headers[line.slice(0, colon).toLowerCase()] = line.slice(colon + 1).trim();
  }
  const length = headEnd + 4 + Number(headers["content-length"] ?? 0);
  if (held.length < length) return undefined;
  const [method = "", path = ""] = requestLine.split(" ");
  return { method, path, headers, body: Buffer.from(held.subarray(headEnd + 4, length)), length };
}
