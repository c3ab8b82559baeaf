import { isIP } from "node:net";
import type { Socket } from "bun";
import type { Clock, Timer } from "../../base/clock.ts";
import type { HeaderFields } from "../../protocol/messages.ts";
import { KeptConnections, type Keepable } from "./kept-connections.ts";
import { ResponseParser, type ResponseHandler } from "./response-parser.ts";

/** What comes of one request. `end` or `failed` is the last call; neither follows a `cancel`. */
export interface AnswerEvents {
  head(status: number, fields: HeaderFields): void;
  body(bytes: Uint8Array<ArrayBuffer>): void;
  end(): void;
  /** With a `code` that says why: of the system, of TLS, or of `ResponseError`. */
  failed(error: unknown): void;
}

/** A request under way. */
export interface HttpCall {
  /** Nothing more is read from the connection, until `resume`. */
  pause(): void;
  resume(): void;
  /** Closes the connection at once. */
  cancel(): void;
}

/** To an open connection, TLS and all. */
const CONNECT_TIMEOUT_MS = 10_000;
/** A request and the end of its connection can cross each other on the way within this time, and not later. */
const CROSSING_MS = 1_000;
/** A body up to this is copied behind its head, to leave in one write with it. */
const MAX_JOINED_BYTES = 64 * 1024;
/** Where most requests are put together: they have left it when they are written, but for what is copied then. */
const DESK = Buffer.allocUnsafeSlow(16 * 1024);

/**
 * Speaks HTTP/1.1 with one server, over TCP or TLS, on sockets of this thread: the runtime's own client
 * has a thread of its own, and each part of an answer waits for both to be woken (measured in
 * docs/dependencies.md). It has no limit of its own for requests at once.
 */
export class HttpClient {
  readonly #address: { hostname: string; port: number };
  readonly #tls: { serverName: string } | undefined;
  readonly #clock: Clock;
  readonly #kept: KeptConnections<Connection>;

  /** @param origin of the server; its path is not used */
  constructor(origin: URL, clock: Clock) {
    const secure = origin.protocol === "https:";
    // A URL's IPv6 address stands in brackets, a socket's does not.
    const hostname = origin.hostname.replace(/^\[(.*)\]$/, "$1");
    const port = origin.port === "" ? (secure ? 443 : 80) : Number(origin.port);
    this.#address = { hostname, port };
    // No address may be sent as a server's name (RFC 6066 §3); the certificate is held against it all the same.
    this.#tls = secure ? { serverName: isIP(hostname) === 0 ? hostname : "" } : undefined;
    this.#clock = clock;
    this.#kept = new KeptConnections(clock);
  }

  /**
   * Sends one request.
   *
   * @param head request line and fields with the empty line, of which the caller has made sure
   * @param bodiless the answer has no body, as that to a HEAD
   */
  request(head: string, body: Uint8Array, bodiless: boolean, events: AnswerEvents): HttpCall {
    const call = new Call(head, body, bodiless, events, this);
    const kept = this.#kept.take();
    if (kept === undefined) this.dial(call);
    else kept.carry(call);
    return call;
  }

  /** Closes the connections that nobody uses. */
  close(): void {
    this.#kept.close();
  }

  now(): number {
    return this.#clock.now();
  }

  /** Opens a connection for a call. */
  dial(call: Call): void {
    const limit = this.#clock.after(CONNECT_TIMEOUT_MS, () => connection.lost(timedOut()));
    const connection = new Connection(this.#kept, limit);
    connection.call = call;
    call.connection = connection;
    const tls = this.#tls;
    Bun.connect({
      ...this.#address,
      ...(tls !== undefined && { tls }),
      data: { connection, secure: tls !== undefined },
      socket: HANDLERS,
    }).catch((error: unknown) => connection.lost(error));
  }
}

interface SocketData {
  connection: Connection;
  secure: boolean;
}

const HANDLERS = {
  open(socket: Socket<SocketData>) {
    const { connection, secure } = socket.data;
    connection.dialled(socket);
    if (!secure) connection.opened(socket);
  },
  handshake(socket: Socket<SocketData>, success: boolean, error: Error | null) {
    const { connection } = socket.data;
    if (success) return connection.opened(socket);
    connection.lost(error ?? new Error("The TLS handshake failed"));
    socket.terminate();
  },
  data(socket: Socket<SocketData>, bytes: Buffer<ArrayBuffer>) {
    socket.data.connection.received(bytes);
  },
  drain(socket: Socket<SocketData>) {
    socket.data.connection.call?.sendRest();
  },
  close(socket: Socket<SocketData>, error?: Error) {
    socket.data.connection.lost(error);
  },
  error(socket: Socket<SocketData>, error: Error) {
    socket.data.connection.lost(error);
    socket.terminate();
  },
};

/** One connection, from its dial to its end; it carries one call after the other. */
class Connection implements Keepable {
  readonly #kept: KeptConnections<Connection>;
  readonly #limit: Timer;
  /** That of TLS is there before it can be used. */
  #dialled: Socket<SocketData> | undefined;
  socket: Socket<SocketData> | undefined;
  call: Call | undefined;
  quietSince = 0;
  /** Whether it has carried a call before the present one. */
  used = false;
  #over = false;

  /** @param limit of the time until it is open */
  constructor(kept: KeptConnections<Connection>, limit: Timer) {
    this.#kept = kept;
    this.#limit = limit;
  }

  dialled(socket: Socket<SocketData>): void {
    this.#dialled = socket;
    // Given up while it was dialled.
    if (this.#over) socket.terminate();
  }

  opened(socket: Socket<SocketData>): void {
    // A server may ask for a second handshake, but gets no second request.
    if (this.#over || this.socket !== undefined) return;
    this.#limit.cancel();
    socket.setNoDelay(true);
    this.socket = socket;
    this.call?.send(socket);
  }

  carry(call: Call): void {
    this.call = call;
    call.connection = this;
    if (this.socket !== undefined) call.send(this.socket);
  }

  received(bytes: Buffer<ArrayBuffer>): void {
    if (this.call !== undefined) return this.call.received(bytes);
    // Nobody has asked for anything.
    this.lost(undefined);
    this.close();
  }

  /** The call is complete, and the connection can carry another one. */
  release(): void {
    this.call = undefined;
    this.used = true;
    this.#kept.keep(this);
  }

  close(): void {
    this.#over = true;
    this.call = undefined;
    this.#limit.cancel();
    this.#dialled?.terminate();
  }

  /** It has ended, or could not be had. Told again, this does nothing. */
  lost(error: unknown): void {
    if (this.#over) return;
    this.#over = true;
    this.#limit.cancel();
    const { call } = this;
    this.call = undefined;
    if (call === undefined) this.#kept.forget(this);
    else call.lost(error);
  }
}

/** One request, from its head to the end of the answer. */
class Call implements HttpCall, ResponseHandler {
  connection: Connection | undefined;
  readonly #client: HttpClient;
  readonly #events: AnswerEvents;
  readonly #head: string;
  readonly #body: Uint8Array;
  readonly #parser: ResponseParser;
  /** What the connection has not taken yet. */
  #unsent: Uint8Array[] = [];
  #sentAt = 0;
  /** Nothing of the answer has come, something has, nothing is told any more. */
  #stage: "asked" | "answered" | "over" = "asked";
  #paused = false;

  constructor(head: string, body: Uint8Array, bodiless: boolean, events: AnswerEvents, client: HttpClient) {
    this.#head = head;
    this.#body = body;
    this.#events = events;
    this.#client = client;
    this.#parser = new ResponseParser(this, bodiless);
  }

  send(socket: Socket<SocketData>): void {
    if (this.#paused) socket.pause();
    this.#sentAt = this.#client.now();
    if (this.#body.length > MAX_JOINED_BYTES) {
      this.#unsent = [Buffer.from(this.#head, "latin1"), this.#body];
      return this.sendRest();
    }
    const length = this.#head.length + this.#body.length;
    const message = length <= DESK.length ? DESK : Buffer.allocUnsafe(length);
    message.write(this.#head, 0, "latin1");
    message.set(this.#body, this.#head.length);
    const written = Math.max(socket.write(message, 0, length), 0);
    this.#unsent = written < length ? [Buffer.from(message.subarray(written, length))] : [];
  }

  sendRest(): void {
    const socket = this.connection?.socket;
    if (socket === undefined) return;
    while (this.#unsent.length > 0) {
      const part = this.#unsent[0]!;
      const written = Math.max(socket.write(part), 0);
      if (written < part.length) {
        this.#unsent[0] = part.subarray(written);
        return;
      }
      this.#unsent.shift();
    }
  }

  received(bytes: Buffer<ArrayBuffer>): void {
    if (this.#stage === "asked") this.#stage = "answered";
    try {
      this.#parser.push(bytes);
    } catch (error) {
      this.#fail(error);
    }
  }

  /** The connection is gone. */
  lost(error: unknown): void {
    if (this.#stage === "over") return;
    if (
      this.#stage === "asked" &&
      this.connection?.used === true &&
      this.#client.now() - this.#sentAt < CROSSING_MS
    ) {
      // The server has closed a quiet connection while the request was on its way to it: it is sent once
      // more, over a connection that is not kept (RFC 9112 §9.3.1). One that ends later had begun to work.
      return this.#client.dial(this);
    }
    try {
      if (error !== undefined && error !== null) throw error;
      this.#parser.close();
    } catch (reason) {
      this.#fail(reason);
    }
  }

  pause(): void {
    // The connection may carry another call by now.
    if (this.#stage === "over") return;
    this.#paused = true;
    this.connection?.socket?.pause();
  }

  resume(): void {
    if (!this.#paused || this.#stage === "over") return;
    this.#paused = false;
    this.connection?.socket?.resume();
  }

  cancel(): void {
    if (this.#stage === "over") return;
    this.#stage = "over";
    this.#parser.stop();
    this.connection?.close();
  }

  head(status: number, fields: HeaderFields): void {
    this.#events.head(status, fields);
  }

  body(bytes: Uint8Array<ArrayBuffer>): void {
    this.#events.body(bytes);
  }

  end(reusable: boolean): void {
    this.resume();
    this.#stage = "over";
    // A server that answers before it has read everything may take the rest for the next request.
    if (reusable && this.#unsent.length === 0) this.connection?.release();
    else this.connection?.close();
    this.#events.end();
  }

  #fail(error: unknown): void {
    if (this.#stage === "over") return;
    this.cancel();
    this.#events.failed(error);
  }
}

function timedOut(): Error {
  return Object.assign(new Error("The connection was not there in time"), { code: "ETIMEDOUT" });
}
