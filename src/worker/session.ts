import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { CLOSE, PONG_TIMEOUT_MS, REGISTER_TIMEOUT_MS } from "../protocol/limits.ts";
import type { WorkerCodec } from "../protocol/link.ts";
import { ProtocolError, type Acceptance, type LinkRequest, type Registration } from "../protocol/messages.ts";
import { createV1WorkerCodec } from "../protocol/v1-worker.ts";
import { linkUrl, type WorkerConfig } from "./config.ts";
import type { DialFailure } from "./connection.ts";
import { probeLink } from "./link-probe.ts";
import { authorityTls, relayTls, type RelayTls } from "./relay-trust.ts";
import { createSendGate, type SendGate } from "./send-gate.ts";

/** Time for the connection and the HTTP upgrade together. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** How a relay closes a link whose secret is wrong (RFC 6455 §7.4.1). */
const POLICY_VIOLATION = 1008;
/** Time that a closing handshake gets before the connection is cut. */
const CLOSE_TIMEOUT_MS = 10_000;

/** How a session ended: `failed` before the registration, `lost` after it. */
export type SessionEnd =
  { kind: "failed"; failure: DialFailure } | { kind: "lost"; code: number; reason: string };

/** What a session asks of its owner and tells it. `ended` is called once and is the last call. */
export interface SessionEvents {
  /** Called when the connection is there. */
  registration(): Registration;
  registered(acceptance: Acceptance): void;
  request(request: LinkRequest): void;
  cancel(id: string): void;
  drain(reason: string | undefined, timeoutMs: number | undefined): void;
  refreshModels(): void;
  /** Requests running now; goes into each pong. */
  load(): number;
  ended(end: SessionEnd): void;
}

/** One link to the relay, from the dial to its end. */
export interface Session {
  readonly codec: WorkerCodec;
  readonly gate: SendGate;
  /** Ends the link in order. */
  close(code: number, reason: string): void;
  /** Cuts the connection without a goodbye. */
  terminate(): void;
}

/** Dials the relay; what comes of it arrives by `events`. */
export function openSession(config: WorkerConfig, clock: Clock, events: SessionEvents): Session {
  let state: "dialing" | "registering" | "ready" | "ended" = "dialing";
  let timer: Timer | undefined;
  let lastHeard = 0;
  /** Why this end closes the link, once it does. */
  let closing: { code: number; reason: string } | undefined;

  /** Absent while the certificate of a relay is looked at whose key is pinned. */
  let socket: WebSocket | undefined;
  const looking = new AbortController();
  const gate = createSendGate(
    {
      get bufferedAmount() {
        return socket?.bufferedAmount ?? 0;
      },
      ping: (payload) => socket?.ping(payload),
    },
    clock,
  );

  const codec = createV1WorkerCodec(
    {
      send(message) {
        // What is said on a dead link is lost with it; its end has been or is being reported.
        if (socket?.readyState !== WebSocket.OPEN) return;
        socket.send(message);
        gate.sent();
      },
    },
    {
      accepted(acceptance) {
        if (state !== "registering") return;
        state = "ready";
        watch();
        events.registered(acceptance);
      },
      request(request) {
        if (state === "ready") events.request(request);
      },
      cancel: (id) => events.cancel(id),
      ping: (timestampMs) => codec.pong(events.load(), timestampMs),
      drain: (reason, timeoutMs) => events.drain(reason, timeoutMs),
      refreshModels: () => events.refreshModels(),
    },
  );

  function end(result: SessionEnd): void {
    if (state === "ended") return;
    state = "ended";
    timer?.cancel();
    gate.open();
    events.ended(result);
  }

  function endOf(code: number, reason: string): SessionEnd {
    if (state === "ready") return { kind: "lost", code, reason };
    // Older relays let everybody connect and look at the secret then.
    const refused = code === POLICY_VIOLATION && closing === undefined;
    const failure: DialFailure = refused
      ? { kind: "unauthorised", how: `close code ${code}` }
      : { kind: "closed", code, reason };
    return { kind: "failed", failure };
  }

  function cut(result: SessionEnd): void {
    end(result);
    // `close` would wait for an answer that a dead peer does not give.
    looking.abort();
    socket?.terminate();
  }

  /** The relay pings each 15 s, so that silence means a dead connection, which no event reports. */
  function watch(): void {
    timer?.cancel();
    timer = clock.after(Math.max(lastHeard + PONG_TIMEOUT_MS - clock.now(), 0), () => {
      if (clock.now() - lastHeard < PONG_TIMEOUT_MS) return watch();
      cut({ kind: "lost", code: CLOSE.silent, reason: "the relay fell silent for 45 s" });
    });
  }

  function hear(): void {
    lastHeard = clock.now();
  }

  function close(code: number, reason: string): void {
    if (state === "ended" || socket?.readyState === WebSocket.CLOSED) return;
    if (socket === undefined || socket.readyState === WebSocket.CONNECTING) return cut(endOf(code, reason));
    timer?.cancel();
    timer = clock.after(CLOSE_TIMEOUT_MS, () => cut(endOf(code, reason)));
    closing = { code, reason };
    socket.close(code, cutReason(reason));
  }

  /** Nothing thrown may leave a socket handler: it would end the process. */
  function guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      const code = error instanceof ProtocolError ? error.closeCode : CLOSE.protocol;
      close(code, messageOf(error));
    }
  }

  /** @throws for a secret that no HTTP header can carry */
  function dial(tls: RelayTls | undefined): void {
    const opened = new WebSocket(linkUrl(config), {
      headers: { "X-Worker-Secret": config.workerSecret },
      ...(tls !== undefined && { tls }),
    });
    socket = opened;
    opened.binaryType = "arraybuffer";
    opened.addEventListener("open", () =>
      guarded(() => {
        if (state !== "dialing") return;
        state = "registering";
        hear();
        timer?.cancel();
        timer = clock.after(REGISTER_TIMEOUT_MS, () => cut({ kind: "failed", failure: { kind: "silent" } }));
        codec.register(events.registration());
      }),
    );
    opened.addEventListener("message", ({ data }) =>
      guarded(() => {
        hear();
        if (state === "ended") return;
        codec.receive(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer));
      }),
    );
    opened.addEventListener("ping", hear);
    opened.addEventListener("pong", () => {
      hear();
      gate.look();
    });
    // Failures are reported by the close event, which always follows.
    opened.addEventListener("error", () => {});
    opened.addEventListener("close", (event) => {
      const { code, reason } = closing ?? event;
      if (state === "dialing" && closing === undefined) void explainRefusal();
      else end(endOf(code, reason));
    });
  }

  async function dialPinned(): Promise<void> {
    try {
      const terms = await relayTls(config, clock, looking.signal);
      if (state !== "dialing") return;
      if ("failure" in terms) end({ kind: "failed", failure: terms.failure });
      else dial(terms.tls);
    } catch (error) {
      end({ kind: "failed", failure: { kind: "unreachable", detail: messageOf(error) } });
    }
  }

  /** The upgrade failed, and the socket does not say why: a plain request does. */
  async function explainRefusal(): Promise<void> {
    timer?.cancel();
    const failure = (await probeLink(config, clock)) ?? { kind: "closed", code: 1006, reason: "" };
    end({ kind: "failed", failure });
  }

  if (config.pins === undefined) dial(authorityTls(config));
  else void dialPinned();
  timer = clock.after(HANDSHAKE_TIMEOUT_MS, () => cut({ kind: "failed", failure: { kind: "silent" } }));
  return {
    codec,
    gate,
    close,
    terminate: () => cut(endOf(1006, "stopped")),
  };
}

/** A close reason holds at most 123 bytes of UTF-8 (RFC 6455 §5.5). */
function cutReason(reason: string): string {
  let text = reason;
  while (Buffer.byteLength(text) > 123) text = text.slice(0, -1);
  return text;
}
