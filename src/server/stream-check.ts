import type { Clock, Timer } from "../base/clock.ts";
import {
  partMark,
  STREAM_CHECK_PARTS as PARTS,
  STREAM_CHECK_PAUSE_MS as PAUSE_MS,
} from "../protocol/stream-check.ts";
import { relayError } from "./client-error.ts";
import type { Connection } from "./connection.ts";
import { errorResponse } from "./error-response.ts";
import { networkOf } from "./attempt-throttle.ts";
import { asksForUpgrade, upgradeRequired } from "./worker-connect.ts";

/** Streams and silent WebSockets at once: anybody can ask for one, so that they must stay few. */
const MAX_STREAMS = 64;
const MAX_SOCKETS = 64;
/** Of these, how many one client may have: a check needs one or two, and no stranger is to keep all others out. */
const MAX_OF_ONE = 8;
/** Longest life of a silent WebSocket: longer than any proxy's usual patience. */
const MAX_SILENCE_MS = 3_600_000;
const RETRY_AFTER_SECS = 5;

/** A WebSocket that carries nothing, as far as it is needed here. */
export interface SilentSocket {
  close(code: number, reason: string): void;
}

/** How many there are, all together and of each client. */
class Places {
  readonly #limit: number;
  readonly #taken = new Map<string, number>();
  #all = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  isFull(client: string): boolean {
    return this.#all >= this.#limit || (this.#taken.get(client) ?? 0) >= MAX_OF_ONE;
  }

  take(client: string): void {
    this.#all++;
    this.#taken.set(client, (this.#taken.get(client) ?? 0) + 1);
  }

  leave(client: string): void {
    this.#all--;
    const left = (this.#taken.get(client) ?? 1) - 1;
    if (left > 0) this.#taken.set(client, left);
    else this.#taken.delete(client);
  }
}

/** What the listener tells of a silent WebSocket. */
export interface SilentSession {
  receive(message: unknown): void;
  closed(): void;
}

/** The ticket by which a silent WebSocket is known once it is open. */
export class SilenceTicket {
  /** Takes the open WebSocket over. */
  readonly open: (socket: SilentSocket) => SilentSession;

  constructor(open: (socket: SilentSocket) => SilentSession) {
    this.open = open;
  }
}

/**
 * Two things for which a proxy in front of the relay shows how it treats the real ones. They set no header
 * that asks a proxy not to buffer: what the proxy does by itself is the point.
 */
export interface StreamCheck {
  /** An event stream whose parts leave half a second apart. */
  stream(request: Request, connection: Connection, requestId: string): Response;
  /**
   * A WebSocket on which nothing is said. Undefined once the connection is one: whoever gets its ticket, a
   * `SilenceTicket`, calls `open` of it.
   */
  silence(request: Request, connection: Connection, requestId: string): Response | undefined;
}

/** @param addressOf the client's address, whatever proxies are in between */
export function createStreamCheck(
  clock: Clock,
  addressOf: (request: Request, connection: Connection) => string,
): StreamCheck {
  const streams = new Places(MAX_STREAMS);
  const sockets = new Places(MAX_SOCKETS);

  const silent = (client: string) =>
    new SilenceTicket((socket) => {
      sockets.take(client);
      let timer: Timer | undefined = clock.after(MAX_SILENCE_MS, () =>
        socket.close(1000, "checked long enough"),
      );
      return {
        receive: () => socket.close(1008, "nothing is to be said here"),
        closed() {
          if (timer === undefined) return;
          timer.cancel();
          timer = undefined;
          sockets.leave(client);
        },
      };
    });

  function parts(client: string, signal: AbortSignal): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    let sent = 0;
    let timer: Timer | undefined;
    let over = false;
    const end = (): void => {
      timer?.cancel();
      if (!over) streams.leave(client);
      over = true;
    };
    streams.take(client);
    return new ReadableStream<Uint8Array>({
      start(controller) {
        const send = (): void => {
          if (over) return;
          sent++;
          controller.enqueue(encoder.encode(`event: part\ndata: {${partMark(sent)},"of":${PARTS}}\n\n`));
          if (sent < PARTS) {
            timer = clock.after(PAUSE_MS, send);
            return;
          }
          end();
          controller.close();
        };
        signal.addEventListener("abort", end);
        send();
      },
      cancel: end,
    });
  }

  return {
    stream(request, connection, requestId) {
      if (request.method !== "GET") return onlyGet(requestId);
      const client = networkOf(addressOf(request, connection));
      if (streams.isFull(client)) return busy(requestId);
      return new Response(parts(client, request.signal), {
        headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
      });
    },
    silence(request, connection, requestId) {
      if (request.method !== "GET") return onlyGet(requestId);
      if (!asksForUpgrade(request)) return upgradeRequired(requestId);
      const client = networkOf(addressOf(request, connection));
      if (sockets.isFull(client)) return busy(requestId);
      if (connection.upgrade(silent(client))) return undefined;
      const error = relayError(400, "invalid_request", "The WebSocket handshake is incomplete");
      return errorResponse(error, "openai", requestId);
    },
  };
}

function busy(requestId: string): Response {
  const error = relayError(503, "busy", "Too many stream checks run at once", RETRY_AFTER_SECS);
  return errorResponse(error, "openai", requestId);
}

function onlyGet(requestId: string): Response {
  const error = relayError(405, "method_not_allowed", "The method must be GET");
  const response = errorResponse(error, "openai", requestId);
  response.headers.set("allow", "GET");
  return response;
}
