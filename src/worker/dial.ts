import { messageOf } from "../base/errors.ts";
import type { Clock } from "../base/clock.ts";
import { ABNORMAL, closeReason } from "../protocol/close-reason.ts";
import { linkUrl, type WorkerConfig } from "./config.ts";
import type { DialFailure } from "./connection.ts";
import { probeLink } from "./link-probe.ts";
import { authorityTls, relayTls, type RelayTls } from "./relay-trust.ts";

/** A connection to the relay that is open. */
export interface LinkSocket {
  /** The subprotocol that the relay picked, or empty. */
  readonly protocol: string;
  /** Bytes that were sent and wait here. */
  readonly bufferedAmount: number;
  /** What is said on a dead connection is lost with it; its end is reported. */
  send(message: string | Uint8Array<ArrayBuffer>): void;
  ping(payload: string): void;
}

export interface DialEvents {
  opened(socket: LinkSocket): void;
  message(data: string | Uint8Array<ArrayBuffer>): void;
  /** The relay's end lives: a ping or a pong has come. */
  heard(kind: "ping" | "pong"): void;
  /** The connection has ended after it was open; the last call. */
  closed(code: number, reason: string): void;
  /** There is no connection; the last call. */
  failed(failure: DialFailure): void;
}

/** A connection from the dial to its end. */
export interface Dial {
  /** Says goodbye. Before the connection is open this is the same as `cut`. */
  close(code: number, reason: string): void;
  /** Ends it without a word; nothing is reported of it any more. */
  cut(): void;
}

/**
 * Dials the relay.
 *
 * @param protocols subprotocols to offer, the wanted one first
 * @throws for a secret that no HTTP header can carry
 */
export function dialRelay(
  config: WorkerConfig,
  protocols: readonly string[],
  clock: Clock,
  events: DialEvents,
): Dial {
  let state: "dialing" | "open" | "over" = "dialing";
  let socket: WebSocket | undefined;
  /** Ends the look at a relay whose key is pinned. */
  const looking = new AbortController();

  function connect(tls: RelayTls | undefined, offered = protocols): void {
    const opened = new WebSocket(linkUrl(config), {
      headers: { "X-Worker-Secret": config.workerSecret },
      ...(offered.length > 0 && { protocols: [...offered] }),
      ...(tls !== undefined && { tls }),
    });
    socket = opened;
    opened.binaryType = "arraybuffer";
    opened.addEventListener("open", () => {
      if (state !== "dialing") return;
      state = "open";
      events.opened({
        protocol: opened.protocol,
        get bufferedAmount() {
          return opened.bufferedAmount;
        },
        send(message) {
          if (opened.readyState === WebSocket.OPEN) opened.send(message);
        },
        ping: (payload) => opened.ping(payload),
      });
    });
    opened.addEventListener("message", ({ data }) => {
      if (state !== "open") return;
      events.message(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer));
    });
    opened.addEventListener("ping", () => heard("ping"));
    opened.addEventListener("pong", () => heard("pong"));
    // Failures are reported by the close event, which always follows.
    opened.addEventListener("error", () => {});
    opened.addEventListener("close", ({ code, reason }) => {
      if (state === "dialing") void explainRefusal(tls, offered);
      else if (state === "open") over(() => events.closed(code, reason));
    });
  }

  function heard(kind: "ping" | "pong"): void {
    if (state === "open") events.heard(kind);
  }

  function over(tell: () => void): void {
    if (state === "over") return;
    state = "over";
    tell();
  }

  async function connectPinned(): Promise<void> {
    try {
      const terms = await relayTls(config, clock, looking.signal);
      if (state !== "dialing") return;
      if ("failure" in terms) over(() => events.failed(terms.failure));
      else connect(terms.tls);
    } catch (error) {
      over(() => events.failed({ kind: "unreachable", detail: messageOf(error) }));
    }
  }

  /**
   * The upgrade failed, and the socket does not say why: a plain request does. Where that goes through
   * and none of the subprotocols is picked, that was why: Bun's client takes it for a failure. Where one
   * is picked, the trouble has passed.
   */
  async function explainRefusal(tls: RelayTls | undefined, offered: readonly string[]): Promise<void> {
    const probe = await probeLink(config, clock, offered);
    if (state !== "dialing") return;
    if (probe.failure === undefined && probe.protocol === "" && offered.length > 0) return connect(tls, []);
    over(() => events.failed(probe.failure ?? { kind: "closed", code: ABNORMAL, reason: "" }));
  }

  if (config.pins === undefined) connect(authorityTls(config));
  else void connectPinned();

  function cut(): void {
    state = "over";
    looking.abort();
    // `close` would wait for an answer that a dead peer does not give.
    socket?.terminate();
  }

  return {
    close(code, reason) {
      if (state === "open") socket?.close(code, closeReason(reason));
      else cut();
    },
    cut,
  };
}
