import { createServer, type AddressInfo, type Socket } from "node:net";
import { describeNetworkError } from "../../../src/base/network-error.ts";
import type { HeaderFields } from "../../../src/protocol/messages.ts";
import type { AnswerEvents, HttpCall, HttpClient } from "../../../src/worker/http/http-client.ts";

export interface Outcome {
  status: number | undefined;
  body: string;
  /** `undefined` if the answer is complete. */
  error: { code: unknown; words: string } | undefined;
}

/** One request of a client, and all that it is told of the answer. */
export class Asked implements AnswerEvents {
  readonly call: HttpCall;
  status: number | undefined;
  fields: HeaderFields | undefined;
  readonly parts: Uint8Array[] = [];
  /** Bytes of the body so far. */
  bytes = 0;
  /** Calls that came after the last one that is allowed. */
  late = 0;
  readonly headed: Promise<void>;
  readonly outcome: Promise<Outcome>;
  readonly #headed = Promise.withResolvers<void>();
  readonly #outcome = Promise.withResolvers<Outcome>();
  readonly #onHead: ((call: HttpCall) => void) | undefined;
  #over = false;

  constructor(client: HttpClient, asking: Asking = {}) {
    const { method = "POST", body = new Uint8Array(0) } = asking;
    this.headed = this.#headed.promise;
    this.outcome = this.#outcome.promise;
    this.#onHead = asking.onHead;
    const head = `${method} /v1/x HTTP/1.1\r\nhost: h\r\ncontent-length: ${body.length}\r\n\r\n`;
    this.call = client.request(head, body, method === "HEAD", this);
  }

  /** Nothing may be told from now on. */
  cancel(): void {
    this.#over = true;
    this.call.cancel();
  }

  head(status: number, fields: HeaderFields): void {
    this.#count();
    this.status = status;
    this.fields = fields;
    this.#onHead?.(this.call);
    this.#headed.resolve();
  }

  body(bytes: Uint8Array): void {
    this.#count();
    this.parts.push(bytes);
    this.bytes += bytes.length;
  }

  end(): void {
    this.#finish(undefined);
  }

  failed(error: unknown): void {
    const { code } = error as { code?: unknown };
    this.#finish({ code, words: describeNetworkError(error) });
  }

  #count(): void {
    if (this.#over) this.late++;
  }

  #finish(error: Outcome["error"]): void {
    this.#count();
    this.#over = true;
    const body = Buffer.concat(this.parts).toString("latin1");
    this.#outcome.resolve({ status: this.status, body, error });
  }
}

export interface Asking {
  method?: string;
  body?: Uint8Array;
  onHead?: (call: HttpCall) => void;
}

export interface RawServer extends AsyncDisposable {
  origin: URL;
}

/** A TCP server of which a test holds every socket. */
export async function listen(connected: (socket: Socket) => void, host = "127.0.0.1"): Promise<RawServer> {
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => socket.destroy());
    connected(socket);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, host, resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    origin: new URL(`http://${host.includes(":") ? `[${host}]` : host}:${port}`),
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** Resolves when the socket is gone, with what it has sent until then. */
export function allOf(socket: Socket): Promise<string> {
  const parts: Buffer[] = [];
  socket.on("data", (data: Buffer) => parts.push(data));
  return new Promise((resolve) => {
    socket.once("close", () => resolve(Buffer.concat(parts).toString("latin1")));
  });
}
