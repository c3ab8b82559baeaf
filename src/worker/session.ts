import { backoffMs } from "../base/backoff.ts";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { ABNORMAL } from "../protocol/close-reason.ts";
import { CLOSE, GOODBYES, PONG_TIMEOUT_MS, REGISTER_TIMEOUT_MS, V2_SUBPROTOCOL } from "../protocol/limits.ts";
import type { Carrier, WorkerCodec, WorkerEvents } from "../protocol/link.ts";
import { ProtocolError, type Acceptance, type LinkRequest, type Registration } from "../protocol/messages.ts";
import { createV1WorkerCodec } from "../protocol/v1-worker.ts";
import { createV2WorkerCodec } from "../protocol/v2-worker.ts";
import type { WorkerConfig } from "./config.ts";
import type { DialFailure } from "./connection.ts";
import { dialRelay, type Dial, type LinkSocket } from "./dial.ts";
import { createSendGate, type SendGate } from "./send-gate.ts";

/** Time for the connection and the HTTP upgrade together. */
const HANDSHAKE_TIMEOUT_MS = 10_000;
/** How a relay closes a link whose secret is wrong (RFC 6455 §7.4.1). */
const POLICY_VIOLATION = 1008;
/** Time that a closing handshake gets before the connection is cut. */
const CLOSE_TIMEOUT_MS = 10_000;
/** Between tries to come back: at once, then soon, as the grace period is short. */
const RETURN = { baseMs: 200, capMs: 2_000 };

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
  /** The connection is lost; the relay waits for this long, in ms, and so do the requests. */
  suspended?(graceMs: number): void;
  /** There is a connection again. */
  resumed?(): void;
  ended(end: SessionEnd): void;
}

/** One link to the relay, from the dial to its end; over several connections if the version allows. */
export interface Session {
  readonly codec: WorkerCodec;
  /** Resolves once what was said can leave: while there is no connection, when there is one again, or never will be. */
  settled(): Promise<void>;
  /** Ends the link in order. */
  close(code: number, reason: string): void;
  /** Cuts the connection without a goodbye. */
  terminate(): void;
}

export interface SessionParts {
  clock: Clock;
  /** In [0, 1). */
  random?: () => number;
}

/**
 * Dials the relay; what comes of it arrives by `events`.
 *
 * @throws for a secret that no HTTP header can carry
 */
export function openSession(config: WorkerConfig, parts: SessionParts, events: SessionEvents): Session {
  return new LinkSession(config, parts, events);
}

/**
 * ```
 * dialing ──► registering ──► ready ◄──► suspended ──► ended
 * ```
 */
type State =
  | { kind: "dialing" | "registering" | "ready" }
  /** Without a connection, or with one over which the relay has not agreed yet to go on. */
  | { kind: "suspended"; until: number; tries: number; owes: boolean }
  | { kind: "ended" };

class LinkSession implements Session {
  readonly #config: WorkerConfig;
  readonly #clock: Clock;
  readonly #random: () => number;
  readonly #protocols: readonly string[];
  readonly #events: SessionEvents;
  #state: State = { kind: "dialing" };
  #dial: Dial;
  #codec: WorkerCodec | undefined;
  #gate: SendGate | undefined;
  #timer: Timer | undefined;
  #lastHeard = 0;
  #graceMs = 0;
  /** Connections over which it has asked to go on, and which it has given up without an answer. */
  #abandoned = 0;
  /** Resolves with the connection that is waited for. */
  #settling: PromiseWithResolvers<void> | undefined;
  /** Why this end closes the link, once it does. */
  #closing: { code: number; reason: string } | undefined;

  constructor(config: WorkerConfig, parts: SessionParts, events: SessionEvents) {
    this.#config = config;
    this.#clock = parts.clock;
    this.#random = parts.random ?? Math.random;
    this.#protocols = config.linkVersion === "v1" ? [] : [V2_SUBPROTOCOL];
    this.#events = events;
    this.#dial = this.#dialFirst();
  }

  get codec(): WorkerCodec {
    if (this.#codec === undefined) throw new Error("Nothing can be said before there is a connection");
    return this.#codec;
  }

  settled(): Promise<void> {
    if (this.#state.kind !== "suspended" || !this.#state.owes) return Promise.resolve();
    this.#settling ??= Promise.withResolvers<void>();
    return this.#settling.promise;
  }

  close(code: number, reason: string): void {
    const { kind } = this.#state;
    if (kind === "ended" || this.#closing !== undefined) return;
    if (kind === "dialing" || kind === "suspended") return this.#cut(this.#endOf(code, reason));
    this.#closing = { code, reason };
    this.#codec?.flush?.();
    this.#limit(CLOSE_TIMEOUT_MS, () => this.#cut(this.#endOf(code, reason)));
    this.#dial.close(code, reason);
  }

  terminate(): void {
    if (this.#state.kind !== "ended") this.#cut(this.#endOf(ABNORMAL, "stopped"));
  }

  #dialFirst(): Dial {
    this.#limit(HANDSHAKE_TIMEOUT_MS, () => this.#cut({ kind: "failed", failure: { kind: "silent" } }));
    return dialRelay(this.#config, this.#protocols, this.#clock, {
      opened: (socket) => this.#guarded(() => this.#register(socket)),
      message: (data) => this.#received(data),
      heard: (kind) => this.#heard(kind),
      closed: (code, reason) => this.#closed(code, reason),
      failed: (failure) => this.#end({ kind: "failed", failure }),
    });
  }

  #register(socket: LinkSocket): void {
    this.#state = { kind: "registering" };
    this.#lastHeard = this.#clock.now();
    this.#limit(REGISTER_TIMEOUT_MS, () => this.#cut({ kind: "failed", failure: { kind: "silent" } }));
    this.#codec = this.#createCodec(socket);
    this.#codec.register(this.#events.registration());
  }

  #createCodec(socket: LinkSocket): WorkerCodec {
    const carrier = this.#carrierOf(socket);
    const events = this.#codecEvents();
    if (socket.protocol !== V2_SUBPROTOCOL) return createV1WorkerCodec(carrier, events);
    return createV2WorkerCodec(carrier, events, {
      schedule: setImmediate,
      overflowed: (error) => this.close(error.closeCode, error.message),
      ...(this.#config.compress !== undefined && { compress: this.#config.compress }),
    });
  }

  #carrierOf(socket: LinkSocket): Carrier {
    const gate = createSendGate(socket, this.#clock);
    this.#gate?.open();
    this.#gate = gate;
    return {
      send(message) {
        socket.send(message);
        gate.sent();
      },
      room: () => gate.wait(),
    };
  }

  #codecEvents(): WorkerEvents {
    const events = this.#events;
    return {
      accepted: (acceptance) => {
        if (this.#state.kind !== "registering") return;
        this.#state = { kind: "ready" };
        this.#graceMs = acceptance.graceMs ?? 0;
        this.#watch();
        events.registered(acceptance);
      },
      request: (request) => events.request(request),
      cancel: (id) => events.cancel(id),
      ping: (timestampMs) => this.codec.pong(events.load(), timestampMs),
      drain: (reason, timeoutMs) => events.drain(reason, timeoutMs),
      refreshModels: () => events.refreshModels(),
      resumed: () => {
        this.#state = { kind: "ready" };
        this.#lastHeard = this.#clock.now();
        this.#watch();
        events.resumed?.();
        this.#settling?.resolve();
        this.#settling = undefined;
      },
      refused: (reason) =>
        this.#cut({ kind: "lost", code: ABNORMAL, reason: `the relay does not go on: ${reason}` }),
    };
  }

  #received(data: string | Uint8Array<ArrayBuffer>): void {
    this.#lastHeard = this.#clock.now();
    this.#guarded(() => {
      if (this.#state.kind !== "ended") this.#codec?.receive(data);
    });
  }

  #heard(kind: "ping" | "pong"): void {
    this.#lastHeard = this.#clock.now();
    if (kind === "pong") this.#gate?.look();
  }

  #closed(code: number, reason: string): void {
    const given = this.#closing ?? { code, reason };
    const { kind } = this.#state;
    // One that was given up has reached the relay after the one that followed it.
    const late = code === CLOSE.superseded && this.#abandoned > 0;
    if (late) this.#abandoned--;
    if (this.#closing === undefined && (late || !isGoodbye(code))) {
      if (kind === "ready" && this.#canReturn()) return this.#suspend();
      if (kind === "suspended") return this.#returnLater();
    }
    this.#end(this.#endOf(given.code, given.reason));
  }

  #canReturn(): boolean {
    return this.#codec?.continuation !== undefined && this.#graceMs > 0;
  }

  /** The connection is lost. The requests go on, and what they answer waits. */
  #suspend(): void {
    this.#timer?.cancel();
    const owes = this.#events.load() > 0 || this.#codec?.continuation?.owes === true;
    this.#codec?.continuation?.suspend();
    this.#state = { kind: "suspended", until: this.#clock.now() + this.#graceMs, tries: 0, owes };
    this.#events.suspended?.(this.#graceMs);
    this.#return();
  }

  #returnLater(): void {
    if (this.#state.kind !== "suspended") return;
    this.#codec?.continuation?.suspend();
    const left = this.#state.until - this.#clock.now();
    if (left <= 0) return this.#giveUp();
    const delay = backoffMs(Math.max(this.#state.tries, 1), RETURN, this.#random);
    this.#limit(Math.min(delay, left), () => this.#return());
  }

  #return(): void {
    const state = this.#state;
    if (state.kind !== "suspended") return;
    const left = state.until - this.#clock.now();
    if (left <= 0) return this.#giveUp();
    state.tries++;
    let asked = false;
    this.#limit(Math.min(HANDSHAKE_TIMEOUT_MS, left), () => {
      if (asked) this.#abandoned++;
      this.#dial.cut();
      this.#returnLater();
    });
    this.#dial = dialRelay(this.#config, this.#protocols, this.#clock, {
      opened: (socket) => {
        // A relay of another version stands there now, which knows nothing of this session.
        if (socket.protocol !== V2_SUBPROTOCOL) return this.#giveUp();
        asked = true;
        this.#codec?.continuation?.ask(this.#carrierOf(socket));
      },
      message: (data) => this.#received(data),
      heard: (kind) => this.#heard(kind),
      closed: (code, reason) => this.#closed(code, reason),
      failed: () => this.#returnLater(),
    });
  }

  #giveUp(): void {
    this.#cut({
      kind: "lost",
      code: ABNORMAL,
      reason: "the connection was lost and could not be had again in time",
    });
  }

  #endOf(code: number, reason: string): SessionEnd {
    const { kind } = this.#state;
    if (kind === "ready" || kind === "suspended") return { kind: "lost", code, reason };
    // Older relays let everybody connect and look at the secret then.
    const refused = code === POLICY_VIOLATION && this.#closing === undefined;
    const failure: DialFailure = refused
      ? { kind: "unauthorised", how: `close code ${code}` }
      : { kind: "closed", code, reason };
    return { kind: "failed", failure };
  }

  #cut(result: SessionEnd): void {
    this.#end(result);
    this.#dial.cut();
  }

  #end(result: SessionEnd): void {
    if (this.#state.kind === "ended") return;
    this.#state = { kind: "ended" };
    this.#timer?.cancel();
    this.#gate?.open();
    this.#events.ended(result);
    this.#settling?.resolve();
  }

  /** The relay pings each 15 s, so that silence means a dead connection, which no event reports. */
  #watch(): void {
    const left = this.#lastHeard + PONG_TIMEOUT_MS - this.#clock.now();
    this.#limit(Math.max(left, 0), () => {
      if (this.#clock.now() - this.#lastHeard < PONG_TIMEOUT_MS) return this.#watch();
      this.#dial.cut();
      this.#closed(CLOSE.silent, "the relay fell silent for 45 s");
    });
  }

  #limit(ms: number, act: () => void): void {
    this.#timer?.cancel();
    this.#timer = this.#clock.after(ms, act);
  }

  /** Nothing thrown may leave a socket handler: it would end the process. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      const code = error instanceof ProtocolError ? error.closeCode : CLOSE.protocol;
      this.close(code, messageOf(error));
    }
  }
}

/** Whether the relay means that it does not wait for this worker to come back. */
function isGoodbye(code: number): boolean {
  return GOODBYES.has(code) || code === POLICY_VIOLATION;
}
