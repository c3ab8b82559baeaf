import type { Clock, Timer } from "../base/clock.ts";
import {
  partMark,
  STREAM_CHECK_PARTS as PARTS,
  STREAM_CHECK_PAUSE_MS as PAUSE_MS,
} from "../protocol/stream-check.ts";
import { relayError, type ClientError } from "./client-error.ts";
import type { Connection } from "./connection.ts";
import { errorResponse } from "./error-response.ts";

/** Streams and silent WebSockets at once: anybody can ask for one, so that they must stay few. */
const MAX_STREAMS = 64;
const MAX_SOCKETS = 64;
/** Longest life of a silent WebSocket: longer than any proxy's usual patience. */
const MAX_SILENCE_MS = 3_600_000;
const RETRY_AFTER_SECS = 5;

/** A WebSocket that carries nothing, as far as it is needed here. */
export interface SilentSocket {
  close(code: number, reason: string): void;
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

export interface StreamCheck {
  /**
   * Answers a request for the stream check. Undefined once the connection is a WebSocket: whoever gets
   * its ticket, a `SilenceTicket`, calls `open` of it.
   */
  answer(request: Request, connection: Connection, requestId: string): Response | undefined;
}

/**
 * Two things for which a proxy in front of the relay shows how it treats the real ones: an event stream
 * whose parts leave half a second apart, and, for a WebSocket upgrade, a link on which nothing is said.
 * It sets no header that asks a proxy not to buffer: what the proxy does by itself is the point.
 */
export function createStreamCheck(clock: Clock): StreamCheck {
  let streams = 0;
  let sockets = 0;

  const silence = new SilenceTicket((socket) => {
    sockets++;
    let timer: Timer | undefined = clock.after(MAX_SILENCE_MS, () =>
      socket.close(1000, "checked long enough"),
    );
    return {
      receive: () => socket.close(1008, "nothing is to be said here"),
      closed() {
        if (timer === undefined) return;
        timer.cancel();
        timer = undefined;
        sockets--;
      },
    };
  });

  function stream(signal: AbortSignal): ReadableStream<Uint8Array> {
    const encoder = new TextEncoder();
    let sent = 0;
    let timer: Timer | undefined;
    let over = false;
    const end = (): void => {
      timer?.cancel();
      if (!over) streams--;
      over = true;
    };
    streams++;
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
    answer(request, connection, requestId) {
      const refuse = (error: ClientError) => errorResponse(error, "openai", requestId);
      const busy = relayError(503, "busy", "Too many stream checks run at once", RETRY_AFTER_SECS);
      if (request.method !== "GET") {
        const response = refuse(relayError(405, "method_not_allowed", "The method must be GET"));
        response.headers.set("allow", "GET");
        return response;
      }
      if (request.headers.get("upgrade")?.toLowerCase() === "websocket") {
        if (sockets >= MAX_SOCKETS) return refuse(busy);
        return connection.upgrade(silence)
          ? undefined
          : refuse(relayError(400, "invalid_request", "The WebSocket handshake is incomplete"));
      }
      if (streams >= MAX_STREAMS) return refuse(busy);
      return new Response(stream(request.signal), {
        headers: { "content-type": "text/event-stream", "cache-control": "no-store" },
      });
    },
  };
}
