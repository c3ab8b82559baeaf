import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { ABNORMAL, closeReason } from "../protocol/close-reason.ts";
import {
  CLOSE,
  GOODBYES,
  PING_INTERVAL_MS,
  PONG_TIMEOUT_MS,
  REGISTER_TIMEOUT_MS,
} from "../protocol/limits.ts";
import type { Carrier, LinkFailure, RelayCodec, RelayEvents } from "../protocol/link.ts";
import { ProtocolError, type Registration, type ResponseHead } from "../protocol/messages.ts";
import { createV1RelayCodec } from "../protocol/v1-relay.ts";
import { createV2RelayCodec } from "../protocol/v2-relay.ts";
import type { ShownSecret } from "./worker-admission.ts";

/** The socket beneath a session. */
export interface WorkerSocket {
  /** @returns false if the message was dropped; the link is then of no use any more */
  send(message: string | Uint8Array<ArrayBuffer>): boolean;
  /** Bytes that were sent and that the connection has not taken yet. */
  buffered(): number;
  close(code: number, reason: string): void;
  /** Ends the connection without waiting for the other end. */
  terminate(): void;
}

/** What a session tells the relay. */
export interface SessionEvents {
  registered(session: WorkerSession, registration: Registration): void;
  models(session: WorkerSession, models: string[], load: number): void;
  load(session: WorkerSession, load: number): void;
  head(requestId: string, head: ResponseHead): void;
  body(requestId: string, bytes: Uint8Array<ArrayBuffer>): void;
  end(requestId: string): void;
  broken(requestId: string, failure: LinkFailure): void;
  /** The connection is lost and the session waits for another one; or it has one. */
  suspended(session: WorkerSession): void;
  resumed(session: WorkerSession): void;
  /** The link is gone; told once, and only after `registered`. */
  lost(session: WorkerSession): void;
}

export interface SessionOptions {
  id: string;
  provider: string;
  /** The worker's network address, for the log. */
  address: string;
  /** The secret of the database that it has shown; absent for the relay's own. */
  secret?: ShownSecret | undefined;
  /** How v2 is spoken; absent for v1. */
  v2?: { sessionId: string; window: number; graceMs: number };
  clock: Clock;
  log: Log;
}

/** One worker: its codec, its heartbeat, and the connection beneath, which may be lost and replaced. */
export class WorkerSession {
  readonly id: string;
  readonly provider: string;
  address: string;
  readonly secret: ShownSecret | undefined;
  readonly connectedAt: number;
  readonly codec: RelayCodec;
  /** As registered; undefined before. */
  name: string | undefined;
  /** Whether its worker can keep this link while it dials another process. */
  canMove = false;
  /** What the last connection was closed with, as of RFC 6455 §7.4.1. */
  closeCode: number = ABNORMAL;
  /** How long the last ping and its pong took together, in ms; undefined before the first pong. */
  roundTripMs: number | undefined;
  #pingedAt: number | undefined;
  #socket: WorkerSocket;
  readonly #events: SessionEvents;
  readonly #clock: Clock;
  readonly #log: Log;
  #timer: Timer;
  #lastHeardAt: number;
  /** Bytes handed to the socket so far. */
  #sent = 0;
  /** As of the last beat: bytes that still waited, and bytes that had left. */
  #flow = { waiting: 0, gone: 0 };
  #registered = false;
  #closed = false;
  /** When the connection was lost; undefined while there is one. */
  #suspendedAt: number | undefined;
  readonly #graceMs: number;

  constructor(socket: WorkerSocket, events: SessionEvents, options: SessionOptions) {
    this.id = options.id;
    this.provider = options.provider;
    this.address = options.address;
    this.secret = options.secret;
    this.#socket = socket;
    this.#events = events;
    this.#clock = options.clock;
    this.#log = options.log;
    this.connectedAt = options.clock.now();
    this.#lastHeardAt = this.connectedAt;
    this.#graceMs = options.v2?.graceMs ?? 0;
    const carrier = this.#carrierOf(socket);
    this.codec =
      options.v2 === undefined
        ? createV1RelayCodec(carrier, this.#relayEvents())
        : createV2RelayCodec(carrier, this.#relayEvents(), {
            ...options.v2,
            schedule: setImmediate,
            overflowed: (error) => this.close(error.closeCode, error.message),
          });
    this.#timer = this.#clock.after(REGISTER_TIMEOUT_MS, () => {
      this.close(CLOSE.protocol, `No "register" within ${REGISTER_TIMEOUT_MS / 1_000} s`);
    });
  }

  /** For how long the session has been without a connection, in ms; undefined while it has one. */
  get suspendedForMs(): number | undefined {
    return this.#suspendedAt === undefined ? undefined : this.#clock.now() - this.#suspendedAt;
  }

  /** Takes one message. Whatever a peer sends, this does not throw. */
  receive(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.#closed) return;
    this.#lastHeardAt = this.#clock.now();
    try {
      this.codec.receive(message);
    } catch (error) {
      const reason = messageOf(error);
      if (error instanceof ProtocolError) {
        this.#log.warn("A worker broke the link protocol and was disconnected", {
          ...this.describe(),
          reason,
        });
        return this.close(error.closeCode, reason);
      }
      this.#log.error("A worker's message could not be handled", { ...this.describe(), reason });
      this.close(CLOSE.protocol, "The message could not be handled");
    }
  }

  /** Closes the link from this side. */
  close(code: number, reason: string): void {
    if (this.#closed) return;
    this.closeCode = code;
    this.codec.flush?.();
    this.#socket.close(code, closeReason(reason));
    this.closed();
  }

  /**
   * A connection has ended, from whichever side: the session with it, unless it can go on over another.
   *
   * @param socket the connection's, as it may have a successor already
   */
  disconnected(socket: WorkerSocket, code: number): void {
    if (socket !== this.#socket || this.#suspendedAt !== undefined) return;
    if (!this.#closed) this.closeCode = code;
    const { resumption } = this.codec;
    const waits = resumption !== undefined && this.#graceMs > 0;
    if (!waits || !this.#registered || this.#closed || GOODBYES.has(code)) return this.closed();
    this.#suspendedAt = this.#clock.now();
    resumption.suspend();
    this.#timer.cancel();
    this.#timer = this.#clock.after(this.#graceMs, () => {
      this.#log.warn("A worker did not come back in time", { ...this.describe(), graceMs: this.#graceMs });
      this.closed();
    });
    this.#events.suspended(this);
  }

  /**
   * Goes on over another connection. The present one, if there is one, is closed: the newer wins.
   *
   * @throws {ProtocolError} if the two ends have no common past; the session is as it was then
   */
  resume(socket: WorkerSocket, theirCount: number, address: string): void {
    const { resumption } = this.codec;
    if (resumption === undefined || this.#closed)
      throw new ProtocolError("Cannot go on: the session has ended", CLOSE.protocol);
    const older = this.#socket;
    this.#socket = socket;
    try {
      resumption.resume(this.#carrierOf(socket), theirCount);
    } catch (error) {
      this.#socket = older;
      throw error;
    }
    if (this.#suspendedAt === undefined)
      older.close(CLOSE.superseded, "Another connection goes on with this session");
    this.address = address;
    this.#suspendedAt = undefined;
    this.#pingedAt = undefined;
    this.#sent = 0;
    this.#flow = { waiting: 0, gone: 0 };
    this.#lastHeardAt = this.#clock.now();
    this.#timer.cancel();
    this.#beat();
    this.#events.resumed(this);
  }

  /** The session is over. */
  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer.cancel();
    if (this.#registered) this.#events.lost(this);
  }

  describe(): { worker: string; address: string } {
    return { worker: this.name ?? this.id, address: this.address };
  }

  #carrierOf(socket: WorkerSocket): Carrier {
    return { send: (message) => this.#send(socket, message) };
  }

  #send(socket: WorkerSocket, message: string | Uint8Array<ArrayBuffer>): void {
    if (this.#closed || socket !== this.#socket) return;
    this.#sent += Buffer.byteLength(message);
    if (!socket.send(message)) this.#dropped(socket);
  }

  /** The link has a hole. */
  #dropped(socket: WorkerSocket): void {
    this.#log.warn("A worker does not read what it is sent and was disconnected", this.describe());
    socket.terminate();
    // Not within this turn: whoever is sending has not finished with its own bookkeeping.
    queueMicrotask(() => this.closed());
  }

  #beat(): void {
    this.#timer = this.#clock.after(PING_INTERVAL_MS, () => {
      if (this.#isTaking()) this.#lastHeardAt = this.#clock.now();
      const silentFor = this.#clock.now() - this.#lastHeardAt;
      if (silentFor >= PONG_TIMEOUT_MS) {
        this.#log.warn("A worker fell silent and was disconnected", {
          ...this.describe(),
          seconds: Math.round(silentFor / 1_000),
        });
        this.#socket.terminate();
        return this.disconnected(this.#socket, ABNORMAL);
      }
      // Pongs come in order: the next one answers the oldest ping that has none.
      this.#pingedAt ??= this.#clock.now();
      this.codec.ping(this.#clock.wall());
      this.#beat();
    });
  }

  /**
   * Whether the worker has taken something since the last beat. A ping waits behind a long request, and
   * on a slow line its pong is minutes away; but what waited then and has left by now was made room for
   * by a worker that lives. Where nothing waited, what has left may lie in the kernel of a dead link.
   */
  #isTaking(): boolean {
    const before = this.#flow;
    const waiting = this.#socket.buffered();
    this.#flow = { waiting, gone: this.#sent - waiting };
    return before.waiting > 0 && this.#flow.gone > before.gone;
  }

  #relayEvents(): RelayEvents {
    const events = this.#events;
    // The rest of a message in which the link was closed is about requests that others may have by now.
    return {
      registered: (registration) => {
        this.#registered = true;
        this.canMove = registration.features.includes("move");
        this.#timer.cancel();
        this.#beat();
        events.registered(this, registration);
      },
      models: (models, load) => {
        if (!this.#closed) events.models(this, models, load);
      },
      pong: (load) => {
        if (this.#pingedAt !== undefined) this.roundTripMs = this.#clock.now() - this.#pingedAt;
        this.#pingedAt = undefined;
        if (!this.#closed) events.load(this, load);
      },
      head: (id, head) => {
        if (!this.#closed) events.head(id, head);
      },
      body: (id, bytes) => {
        if (!this.#closed) events.body(id, bytes);
      },
      end: (id) => {
        if (!this.#closed) events.end(id);
      },
      broken: (id, failure) => {
        if (!this.#closed) events.broken(id, failure);
      },
      complaint: (code, message) =>
        this.#log.warn("A worker complains", { ...this.describe(), code, message: message.slice(0, 300) }),
    };
  }
}
