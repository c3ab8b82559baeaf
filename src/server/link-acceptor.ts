import { randomBytes } from "node:crypto";
import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { closeReason } from "../protocol/close-reason.ts";
import { FRAME, FrameDecoder, jsonFrame } from "../protocol/frames.ts";
import { CLOSE, REGISTER_TIMEOUT_MS } from "../protocol/limits.ts";
import { ProtocolError } from "../protocol/messages.ts";
import { countField, textField } from "../protocol/v1.ts";
import { jsonFields } from "../protocol/v2.ts";
import type { SocketSession } from "./listener.ts";
import type { WorkerTicket } from "./worker-connect.ts";
import { WorkerSession, type SessionEvents, type WorkerSocket } from "./worker-session.ts";

/** Why a link is closed whose secret was taken back; the worker dials again and is told so by a status. */
export const SECRET_REVOKED = "The worker secret was revoked";
const MOVED = "Another process has taken the relay's place";

export interface LinkAcceptorOptions {
  clock: Clock;
  log: Log;
  events: SessionEvents;
  /** Bytes of a response that may wait for its client on a v2 link. */
  window: number;
  /** Time for which a v2 session outlives its connection. */
  graceMs: number;
  /** Whether what a worker has shown still lets it in: it may have been taken back before it registers. */
  holds: (ticket: WorkerTicket) => boolean;
  /** Whether another process has the relay's address: whoever comes anew belongs there. */
  isLeaving: () => boolean;
}

/** Turns workers' connections into sessions: new ones, or those that go on. */
export class LinkAcceptor {
  readonly #options: LinkAcceptorOptions;
  /** By the id that only its worker knows. */
  readonly #resumable = new Map<string, { session: WorkerSession; credential: string }>();

  constructor(options: LinkAcceptorOptions) {
    this.#options = options;
  }

  accept(ticket: WorkerTicket, socket: WorkerSocket): SocketSession {
    return ticket.version === "v1"
      ? this.#open(ticket, socket)
      : new FirstFrame(this, ticket, socket, this.#options);
  }

  /** A session of its own for this connection. */
  begin(ticket: WorkerTicket, socket: WorkerSocket): SocketSession {
    return this.#open(ticket, socket);
  }

  /** The session that this ticket may go on with. The id is as good as a secret, and the secret must be the same. */
  find(id: string, { credential }: WorkerTicket): WorkerSession | undefined {
    const found = this.#resumable.get(id);
    return found?.credential === credential ? found.session : undefined;
  }

  #open(ticket: WorkerTicket, socket: WorkerSocket): SocketSession {
    const { clock, log, window, graceMs, holds, isLeaving } = this.#options;
    const id = `w_${crypto.randomUUID().replaceAll("-", "").slice(0, 20)}`;
    const sessionId = randomBytes(24).toString("base64url");
    const { credential } = ticket;
    const { events } = this.#options;
    // One that ends before it has registered is not told of, and nobody has its id.
    const admitting: SessionEvents = {
      ...events,
      registered: (registering, registration) => {
        if (!holds(ticket)) return registering.close(CLOSE.restart, SECRET_REVOKED);
        if (isLeaving()) return registering.close(CLOSE.restart, MOVED);
        events.registered(registering, registration);
      },
    };
    const remembering: SessionEvents = {
      ...events,
      registered: (registering, registration) => {
        this.#resumable.set(sessionId, { session: registering, credential });
        admitting.registered(registering, registration);
      },
      lost: (lost) => {
        this.#resumable.delete(sessionId);
        events.lost(lost);
      },
    };
    const session = new WorkerSession(socket, ticket.version === "v2" ? remembering : admitting, {
      id,
      provider: ticket.provider,
      address: ticket.address,
      secret: ticket.secret,
      clock,
      log,
      ...(ticket.version === "v2" && { v2: { sessionId, window, graceMs } }),
    });
    return connectionOf(session, socket);
  }
}

/** What the listener tells of one connection, to the session that it belongs to. */
export function connectionOf(session: WorkerSession, socket: WorkerSocket): SocketSession {
  return {
    receive: (message) => session.receive(message),
    closed: (code) => session.disconnected(socket, code),
  };
}

/** A v2 connection of which the first frame is awaited: it says whether a session begins or goes on. */
class FirstFrame implements SocketSession {
  readonly #acceptor: LinkAcceptor;
  readonly #ticket: WorkerTicket;
  readonly #socket: WorkerSocket;
  readonly #log: Log;
  readonly #clock: Clock;
  #timer: Timer;
  #session: SocketSession | undefined;
  #over = false;

  constructor(
    acceptor: LinkAcceptor,
    ticket: WorkerTicket,
    socket: WorkerSocket,
    { clock, log }: LinkAcceptorOptions,
  ) {
    this.#acceptor = acceptor;
    this.#ticket = ticket;
    this.#socket = socket;
    this.#log = log;
    this.#clock = clock;
    this.#timer = this.#limit();
  }

  receive(message: string | Buffer<ArrayBuffer>): void {
    if (this.#session !== undefined) return this.#session.receive(message);
    if (this.#over) return;
    this.#timer.cancel();
    try {
      const resuming = typeof message === "string" ? undefined : readResume(message);
      if (resuming === undefined) {
        this.#session = this.#acceptor.begin(this.#ticket, this.#socket);
        return this.#session.receive(message);
      }
      const session = this.#acceptor.find(resuming.session, this.#ticket);
      if (session === undefined) return this.#tellRefused("There is no such session");
      session.resume(this.#socket, resuming.received, this.#ticket.address);
      this.#session = connectionOf(session, this.#socket);
    } catch (error) {
      this.#refuse(error);
    }
  }

  closed(code: number): void {
    this.#over = true;
    this.#timer.cancel();
    this.#session?.closed(code);
  }

  #limit(): Timer {
    return this.#clock.after(REGISTER_TIMEOUT_MS, () =>
      this.#refuse(new ProtocolError(`No frame within ${REGISTER_TIMEOUT_MS / 1_000} s`, CLOSE.protocol)),
    );
  }

  /** The worker registers anew; it need not dial again for that. */
  #tellRefused(reason: string): void {
    this.#timer = this.#limit();
    this.#socket.send(jsonFrame(FRAME.refused, { reason }));
  }

  #refuse(error: unknown): void {
    this.#over = true;
    const { address } = this.#ticket;
    this.#log.warn("A worker's connection was refused", { address, reason: messageOf(error) });
    const code = error instanceof ProtocolError ? error.closeCode : CLOSE.protocol;
    this.#socket.close(code, closeReason(messageOf(error)));
  }
}

/** @returns `undefined` for a first frame that asks for something else. @throws {ProtocolError} if it is malformed */
function readResume(message: Uint8Array<ArrayBuffer>): { session: string; received: number } | undefined {
  let asked: { session: string; received: number } | undefined;
  if (message[3] !== FRAME.resume) return undefined;
  const decoder = new FrameDecoder((type, _, payload) => {
    if (type !== FRAME.resume || asked !== undefined)
      throw new ProtocolError("Cannot take more before the session goes on", CLOSE.protocol);
    const fields = jsonFields(payload, "a resumption");
    asked = { session: textField(fields, "session"), received: countField(fields, "received") };
  });
  decoder.push(message);
  if (asked === undefined || decoder.held > 0)
    throw new ProtocolError("Cannot read a resumption: it is not whole", CLOSE.protocol);
  return asked;
}
