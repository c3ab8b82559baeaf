import type {
  Acceptance,
  CancelReason,
  LinkRequest,
  Registration,
  ResponseHead,
  TokenCounts,
} from "./messages.ts";

/**
 * The two ends of a link as the rest of the program sees them. A codec turns these calls into messages
 * of one protocol version and back; neither the relay's core nor the worker's jobs know which.
 *
 * A codec does no I/O and keeps no timer: bytes leave through its `Carrier`, bytes arrive by `receive`.
 */

/** What carries a link's messages, whole and in order. */
export interface Carrier {
  /** Hands one message over. Never blocks; a carrier that cannot take it ends the link by itself. */
  send(message: string | Uint8Array<ArrayBuffer>): void;
  /** `undefined` while more may be sent, else a promise for the moment when it may; absent if nobody asks. */
  room?(): Promise<void> | undefined;
}

/**
 * What a request asks of the link beyond text in a POST, as bits, so that the scheduler can pass over a
 * worker whose link cannot carry it.
 */
export const NEEDS = {
  /** A method other than POST. */
  method: 1,
  /** A body that is not UTF-8 text. */
  bytes: 2,
  /** A body that does not fit into one message of v1. */
  large: 4,
} as const;

/** What a link of a version with resume does beyond the rest. */
export interface Resumption {
  /** Names the session to whoever goes on with it; unguessable. */
  readonly sessionId: string;
  /** The connection is lost: what is said from now on waits. */
  suspend(): void;
  /**
   * Goes on over another connection.
   *
   * @param theirCount counted frames that the other end has
   * @throws {ProtocolError} if the two ends have no common past
   */
  resume(carrier: Carrier, theirCount: number): void;
}

/** What the relay hears from a worker. */
export interface RelayEvents {
  registered(registration: Registration): void;
  head(id: string, head: ResponseHead): void;
  body(id: string, bytes: Uint8Array<ArrayBuffer>): void;
  /** The response is complete. */
  end(id: string, tokens: TokenCounts | undefined): void;
  /** The response could not be had, or broke off: what came before is not the whole. */
  broken(id: string, failure: LinkFailure): void;
  pong(load: number): void;
  models(models: string[], load: number): void;
  /** The worker complains about something that belongs to no request. */
  complaint(code: string, message: string): void;
}

/** Why a response did not come whole. */
export interface LinkFailure {
  /** HTTP status that the client gets if it has none yet. */
  status: number;
  /** Stable, for programs: `backend_unreachable`, `backend_timeout`, … */
  code: string;
  message: string;
  /** Who failed. */
  origin: "worker" | "backend";
}

/** The relay's end of a link. */
export interface RelayCodec {
  /**
   * Takes one message from the worker and calls the events it holds, synchronously.
   *
   * @throws {ProtocolError} if the message breaks the rules; the link must then be closed
   */
  receive(message: string | Uint8Array<ArrayBuffer>): void;
  accept(acceptance: Acceptance): void;
  /** Which of `NEEDS` this link can carry; known once the worker has registered. */
  carries(): number;
  request(request: LinkRequest): void;
  cancel(id: string, reason: CancelReason): void;
  /** So many bytes of a response have left for the client, which makes room for as many more. */
  consumed(id: string, bytes: number): void;
  ping(wallMs: number): void;
  drain(reason: string, timeoutMs: number): void;
  refreshModels(reason: string): void;
  /** Hands over at once what waits for the end of the turn; before a connection is closed. */
  flush?(): void;
  /** Absent where a lost connection is a lost worker. */
  readonly resumption?: Resumption;
}

/** What a worker hears from the relay. */
export interface WorkerEvents {
  accepted(acceptance: Acceptance): void;
  request(request: LinkRequest): void;
  cancel(id: string, reason: CancelReason): void;
  ping(timestampMs: number | undefined): void;
  drain(reason: string | undefined, timeoutMs: number | undefined): void;
  refreshModels(): void;
  /** The session goes on over the new connection; v2 alone. */
  resumed?(): void;
  /** The relay does not know the session any more: its requests are lost, and a new one may register. */
  refused?(reason: string): void;
}

/**
 * Where a worker writes one response. Call `head` once, then `body` any number of times, then exactly
 * one of `end`, `fail` and `cancelled`. A call after that does nothing.
 */
export interface ResponseWriter {
  /** Nothing more can be said, so that the rest of the backend's answer need not be read. */
  readonly finished: boolean;
  /** `undefined` while there is room for more of the body, else a promise for the moment when there is. */
  room(): Promise<void> | undefined;
  head(head: ResponseHead): void;
  body(bytes: Uint8Array<ArrayBuffer>): void;
  end(tokens?: TokenCounts): void;
  /**
   * The answer cannot be had. Before the head this becomes the whole answer; after it the response
   * breaks off. The code is `backend_unreachable` unless given; codes that begin with `worker_` are
   * the worker's own failures.
   */
  fail(status: number, message: string, code?: string): void;
  /** The request was taken back and the backend's connection is closed. */
  cancelled(): void;
}

/** The worker's end of a link. */
export interface WorkerCodec {
  /**
   * Takes one message from the relay and calls the events it holds, synchronously.
   *
   * @throws {ProtocolError} if the message breaks the rules; the link must then be closed
   */
  receive(message: string | Uint8Array<ArrayBuffer>): void;
  register(registration: Registration): void;
  respond(request: LinkRequest): ResponseWriter;
  pong(load: number, timestampMs: number | undefined): void;
  models(models: string[], load: number): void;
  /** Hands over at once what waits for the end of the turn; before a connection is closed. */
  flush?(): void;
  /** Absent where a lost connection is the end of the session. */
  readonly continuation?: Continuation;
}

/** The worker's part in going on after a lost connection. */
export interface Continuation {
  /** Whether something was said that the relay may not have. */
  readonly owes: boolean;
  /** The connection is lost: what is said from now on waits. */
  suspend(): void;
  /** Asks over another connection to go on; `resumed` or `refused` is the answer. */
  ask(carrier: Carrier): void;
}
