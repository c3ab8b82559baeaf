import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { CLOSE, PING_INTERVAL_MS, PONG_TIMEOUT_MS, REGISTER_TIMEOUT_MS } from "../protocol/limits.ts";
import type { LinkFailure, RelayCodec, RelayEvents } from "../protocol/link.ts";
import { ProtocolError, type Registration, type ResponseHead } from "../protocol/messages.ts";
import { createV1RelayCodec } from "../protocol/v1-relay.ts";

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
  /** The link is gone; told once, and only after `registered`. */
  lost(session: WorkerSession): void;
}

export interface SessionOptions {
  id: string;
  provider: string;
  /** The worker's network address, for the log. */
  address: string;
  clock: Clock;
  log: Log;
}

/** One worker's connection: its codec, its heartbeat, and the end of both. */
export class WorkerSession {
  readonly id: string;
  readonly provider: string;
  readonly address: string;
  readonly connectedAt: number;
  readonly codec: RelayCodec;
  /** As registered; undefined before. */
  name: string | undefined;
  readonly #socket: WorkerSocket;
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

  constructor(socket: WorkerSocket, events: SessionEvents, options: SessionOptions) {
    this.id = options.id;
    this.provider = options.provider;
    this.address = options.address;
    this.#socket = socket;
    this.#events = events;
    this.#clock = options.clock;
    this.#log = options.log;
    this.connectedAt = options.clock.now();
    this.#lastHeardAt = this.connectedAt;
    this.codec = createV1RelayCodec({ send: (message) => this.#send(message) }, this.#relayEvents());
    this.#timer = this.#clock.after(REGISTER_TIMEOUT_MS, () => {
      this.close(CLOSE.protocol, `No "register" within ${REGISTER_TIMEOUT_MS / 1_000} s`);
    });
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
    // A close reason has room for 123 bytes (RFC 6455 §5.5).
    this.#socket.close(
      code,
      Buffer.from(reason)
        .subarray(0, 120)
        .toString()
        .replace(/\ufffd+$/, ""),
    );
    this.closed();
  }

  /** The connection has ended, from whichever side. */
  closed(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#timer.cancel();
    if (this.#registered) this.#events.lost(this);
  }

  describe(): { worker: string; address: string } {
    return { worker: this.name ?? this.id, address: this.address };
  }

  #send(message: string | Uint8Array<ArrayBuffer>): void {
    if (this.#closed) return;
    this.#sent += Buffer.byteLength(message);
    if (this.#socket.send(message)) return;
    this.#log.warn("A worker does not read what it is sent and was disconnected", this.describe());
    this.#socket.terminate();
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
        return this.closed();
      }
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
    return {
      registered: (registration) => {
        this.#registered = true;
        this.#timer.cancel();
        this.#beat();
        events.registered(this, registration);
      },
      models: (models, load) => events.models(this, models, load),
      pong: (load) => events.load(this, load),
      head: (id, head) => events.head(id, head),
      body: (id, bytes) => events.body(id, bytes),
      end: (id) => events.end(id),
      broken: (id, failure) => events.broken(id, failure),
      complaint: (code, message) =>
        this.#log.warn("A worker complains", { ...this.describe(), code, message: message.slice(0, 300) }),
    };
  }
}
