import type { Server, ServerWebSocket } from "bun";
import { messageOf, Problem } from "../base/errors.ts";
import { hostPort } from "../base/ip-address.ts";
import { V1_MAX_MESSAGE } from "../protocol/limits.ts";
import { CIPHERS } from "../tls/ciphers.ts";
import type { Identity } from "../tls/source.ts";
import type { ListenAddress } from "./config.ts";
import type { Connection } from "./connection.ts";
import type { WorkerSocket } from "./worker-session.ts";

/** What the relay answers with, as the listener calls it. */
export interface ListenerHandlers {
  request(request: Request, connection: Connection): Response | undefined | Promise<Response | undefined>;
  /** A WebSocket is open: a worker's, or one of a check. */
  socket(ticket: unknown, socket: WorkerSocket): SocketSession;
}

/** What makes a port one for TLS. */
export interface SecureOptions {
  /** At least one; the first answers clients that name none, or one that is not here. */
  identities: readonly Identity[];
  /** `quic`: HTTP/3 over UDP, and nothing else. */
  carrier: "tcp" | "quic";
  /** Whether HTTP/2 is offered beside HTTP/1.1. */
  http2: boolean;
}

export interface ListenOptions {
  /** Absent for plain HTTP. */
  secure?: SecureOptions | undefined;
  /** Whether another socket of this user may listen on the same port; not unless given. */
  shared?: boolean;
  /** Seconds until a connection that sends no request, or an unfinished one, is closed. */
  idleSecs?: number | undefined;
}

/** What is told of an open WebSocket. */
export interface SocketSession {
  receive(message: string | Buffer<ArrayBuffer>): void;
  /** @param code as of RFC 6455 §7.1.5 */
  closed(code: number): void;
}

export interface Listener {
  readonly host: string;
  readonly port: number;
  /** Requests that have no whole answer yet. */
  readonly pending: number;
  /** Open WebSockets. */
  readonly sockets: number;
  /** From now on each HTTP/1.1 answer asks its client to leave, so that none leaves within a request. */
  retire(): void;
  /** Accepts no further connection; what runs goes on. Resolves when the last connection is closed. */
  finish(): Promise<void>;
  /** Closes everything. */
  stop(): Promise<void>;
}

interface SocketData {
  ticket: unknown;
  session: SocketSession | undefined;
}

/** Seconds until a connection that sends no request, or an unfinished one, is closed. */
const IDLE_TIMEOUT_SECS = 30;

/**
 * Opens the port. This is the only file that knows `Bun.serve`.
 *
 * @param sendLimit bytes that may wait for one worker; above it the worker is cut off
 * @throws {Problem} if the address cannot be had
 */
export function listen(
  address: ListenAddress,
  sendLimit: number,
  handlers: ListenerHandlers,
  options: ListenOptions = {},
): Listener {
  const answering: Answering = {
    request: (request, connection) => handlers.request(request, connection),
    socket: (ticket, socket) => handlers.socket(ticket, socket),
  };
  const server = open(address, sendLimit, answering, options);
  return {
    host: address.host,
    port: server.port ?? address.port,
    get pending() {
      return server.pendingRequests;
    },
    get sockets() {
      return server.pendingWebSockets;
    },
    retire() {
      answering.request = (request, connection) => {
        const answer = handlers.request(request, connection);
        return answer instanceof Promise ? answer.then(lastAnswer) : lastAnswer(answer);
      };
    },
    finish: () => server.stop(),
    stop: () => server.stop(true),
  };
}

/** The handlers as they are called: who answers can change while the port is open. */
type Answering = { -readonly [K in keyof ListenerHandlers]: ListenerHandlers[K] };

/** HTTP/2 knows no such header, and Bun leaves it out there. */
function lastAnswer(response: Response | undefined): Response | undefined {
  response?.headers.set("connection", "close");
  return response;
}

function open(
  address: ListenAddress,
  sendLimit: number,
  handlers: Answering,
  { secure, shared = false, idleSecs = IDLE_TIMEOUT_SECS }: ListenOptions,
): Server<SocketData> {
  try {
    return Bun.serve<SocketData>({
      hostname: address.host,
      port: address.port,
      // Without this a compiled binary answers errors with a page that shows its source.
      development: false,
      // True where `development` is false, unless it is said: two relays of one user would then share
      // the port without a word, each with half of the clients and workers.
      reusePort: shared,
      ...(secure !== undefined && secureSettings(secure)),
      idleTimeout: idleSecs,
      // The relay has limits of its own and words the refusal itself.
      maxRequestBodySize: Number.MAX_SAFE_INTEGER,
      fetch: (request, self) => handlers.request(request, new RequestConnection(request, self, idleSecs)),
      error: () => new Response("Internal error\n", { status: 500 }),
      websocket: {
        data: {} as SocketData,
        maxPayloadLength: V1_MAX_MESSAGE,
        backpressureLimit: sendLimit,
        closeOnBackpressureLimit: true,
        // The link has a heartbeat of its own, which measures more than that the peer's kernel lives.
        idleTimeout: 0,
        sendPings: false,
        perMessageDeflate: false,
        open(socket) {
          socket.data.session = handlers.socket(socket.data.ticket, workerSocket(socket));
        },
        message(socket, message) {
          socket.data.session?.receive(message);
        },
        close(socket, code) {
          socket.data.session?.closed(code);
        },
      },
    });
  } catch (error) {
    const { why, action } = explain(error);
    const place = hostPort(address.host, address.port);
    throw new Problem(`Cannot listen on ${place}: ${why}`, { action, cause: error });
  }
}

function secureSettings({ identities, carrier, http2 }: SecureOptions) {
  return {
    // Bun takes one name an entry, and serves the first entry to whoever asks for none of them. Each entry
    // takes half a megabyte with a long certificate, so that one which is for everybody has no names.
    tls: identities.flatMap(({ names, chainPem, keyPem }) =>
      (names.length === 0 || identities.length === 1 ? [undefined] : names).map((name) => ({
        ...(name !== undefined && { serverName: name }),
        cert: chainPem,
        key: keyPem,
        // Bun would take CBC as well, and suites without forward secrecy. Which of these is used is the
        // client's choice: it knows whether it has AES in hardware.
        ciphers: CIPHERS,
      })),
    ),
    ...(carrier === "quic" ? { http1: false, http3: true } : { http2 }),
  };
}

/** Why an address cannot be had, and what to do about it. */
function explain(error: unknown): { why: string; action: string } {
  switch (error instanceof Error && "code" in error ? error.code : undefined) {
    case "EADDRINUSE":
      return {
        why: "another program listens there already",
        action: "Stop that program, or choose another port with --listen",
      };
    case "EACCES":
      return {
        why: "this user may not use the port",
        action: "Choose a port from 1024 on with --listen, or start as a user that may use lower ones",
      };
    case "EADDRNOTAVAIL":
      return {
        why: "this machine does not have the address",
        action: "Choose one that it has with --listen; :PORT stands for all of them",
      };
    // What Bun says of a name that cannot be looked up.
    case "ENOTTY":
      return {
        why: "the name leads to no address",
        action: "Choose an address of this machine with --listen; :PORT stands for all of them",
      };
    default:
      return { why: messageOf(error), action: "Choose another address with --listen" };
  }
}

class RequestConnection implements Connection {
  readonly #request: Request;
  readonly #server: Server<SocketData>;
  readonly #idleSecs: number;

  constructor(request: Request, server: Server<SocketData>, idleSecs: number) {
    this.#request = request;
    this.#server = server;
    this.#idleSecs = idleSecs;
  }

  get address(): string {
    return this.#server.requestIP(this.#request)?.address ?? "";
  }

  allowSilence(): void {
    this.#server.timeout(this.#request, 0);
  }

  limitSilence(): void {
    this.#server.timeout(this.#request, this.#idleSecs);
  }

  upgrade(ticket: unknown, protocol?: string): boolean {
    return this.#server.upgrade(this.#request, {
      data: { ticket, session: undefined },
      // Left out, Bun would pick whatever stands first in the client's list; empty, it picks none.
      headers: { "sec-websocket-protocol": protocol ?? "" },
    });
  }
}

function workerSocket(socket: ServerWebSocket<SocketData>): WorkerSocket {
  return {
    // 0 means that the message was dropped, although later ones would pass: the link has a hole then.
    send: (message) => socket.send(message) !== 0,
    buffered: () => socket.getBufferedAmount(),
    close: (code, reason) => socket.close(code, reason),
    terminate: () => socket.terminate(),
  };
}
