import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import { timing } from "../base/server-timing.ts";
import type { ResponseWriter } from "../protocol/link.ts";
import type { HeaderFields, LinkRequest, ResponseHead } from "../protocol/messages.ts";
import type { Backend } from "./backend.ts";
import type { BackendCall, BackendEvents } from "./backend-exchange.ts";
import { BackendError } from "./backend-error.ts";
import type { ModelName } from "./config.ts";
import { FIRST_EVENT_BYTES, readFirstEvent } from "./first-event.ts";
import { concatBytes } from "./json-fields.ts";
import { renameAnswer, renameRequestBody, type BodyTransform } from "./rename.ts";

/** What one request needs on its way to the backend and back. */
export interface JobContext {
  clock: Clock;
  request: LinkRequest;
  writer: ResponseWriter;
  backend: Backend;
  model: ModelName;
  /** The backend could not be reached, or broke off. */
  backendFailed(error: BackendError): void;
  /** The writer has been told the outcome, and nothing of the job is left. */
  done(): void;
}

/** Why a running job is ended from outside. */
export type JobEnd = { kind: "cancelled" } | { kind: "shutdown" };

type Bytes = Uint8Array<ArrayBuffer>;

/**
 * ```
 * asking ──head──► opening ──first event──► answering ──► leaving ──► over
 *    └──────────head, no events───────────────▲
 * ```
 */
type State =
  | { kind: "asking" }
  /** The first event of a stream is not complete; it may be an error. */
  | { kind: "opening"; head: ResponseHead; held: Bytes }
  | { kind: "answering"; transform: BodyTransform | undefined }
  /** All is said, and waits for the client to make room. */
  | { kind: "leaving" }
  | { kind: "over" };

/**
 * One request on its way to the backend and its answer on the way back. Bytes go on in the turn in which
 * they come; nothing is done per part that could be done per request.
 */
export class Job implements BackendEvents {
  readonly #context: JobContext;
  #state: State = { kind: "asking" };
  #call: BackendCall | undefined;
  #sentAt = 0;

  constructor(context: JobContext) {
    this.#context = context;
  }

  /** Whatever goes wrong is told by the writer. */
  start(): void {
    const { request, backend, model, clock } = this.#context;
    try {
      const body = renameRequestBody(request, model);
      const { method, path, headers } = request;
      this.#sentAt = clock.now();
      this.#call = backend.send({ method, path, headers, body }, this);
    } catch (error) {
      this.#broke(error);
    }
  }

  /** Ends it from outside; the backend's connection is closed when this returns. */
  stop(end: JobEnd): void {
    if (this.#state.kind === "over") return;
    const { writer } = this.#context;
    this.#call?.cancel();
    if (end.kind === "cancelled") writer.cancelled();
    else writer.fail(503, "The worker stopped before the answer was complete", "worker_shutdown");
    this.#finish();
  }

  head(head: ResponseHead): void {
    addTiming(head.headers, this.#context.clock.now() - this.#sentAt);
    if (opensWithEvent(head)) this.#state = { kind: "opening", head, held: NO_BYTES };
    else this.#guarded(() => this.#answer(head));
  }

  body(bytes: Bytes): void {
    const state = this.#state;
    // Without a closure: this is called for each token.
    try {
      if (state.kind === "answering") this.#write(state.transform, bytes);
      else if (state.kind === "opening") this.#open(state, bytes);
    } catch (error) {
      this.#broke(error);
    }
  }

  end(): void {
    this.#guarded(() => {
      if (this.#state.kind === "opening") this.#judge(this.#state, true);
      if (this.#state.kind !== "answering") return;
      const { writer } = this.#context;
      const rest = this.#state.transform?.end();
      if (rest !== undefined && rest.byteLength > 0) writer.body(rest);
      writer.end();
      this.#state = { kind: "leaving" };
      this.#leave();
    });
  }

  failed(error: BackendError): void {
    this.#broke(error);
  }

  #open(state: Extract<State, { kind: "opening" }>, bytes: Bytes): void {
    state.held = state.held.byteLength === 0 ? bytes : concatBytes([state.held, bytes]);
    // Only a line break can complete an event.
    const mayBeWhole = bytes.includes(LF) || bytes.includes(CR) || state.held.byteLength > FIRST_EVENT_BYTES;
    if (mayBeWhole) this.#judge(state, false);
  }

  /** Looks whether the stream begins with an error, once its first event is there. */
  #judge({ head, held }: Extract<State, { kind: "opening" }>, ended: boolean): void {
    const { complete, error } = readFirstEvent(held, ended);
    if (!complete && !ended) return;
    if (error === undefined) {
      this.#answer(head);
      if (this.#state.kind === "answering" && held.byteLength > 0) this.#write(this.#state.transform, held);
      return;
    }
    const { writer } = this.#context;
    writer.head({ status: error.status, headers: errorHeaders(head.headers) });
    writer.body(error.body);
    writer.end();
    // Nobody waits for what follows an error.
    this.#call?.cancel();
    this.#state = { kind: "leaving" };
    this.#leave();
  }

  #answer(head: ResponseHead): void {
    const { writer, model } = this.#context;
    writer.head(head);
    // The link cannot carry this answer and has said so.
    if (writer.finished) return this.#letGo();
    this.#state = { kind: "answering", transform: renameAnswer(head.headers["content-type"], model) };
  }

  #write(transform: BodyTransform | undefined, part: Bytes): void {
    const { writer } = this.#context;
    const bytes = transform === undefined ? part : transform.part(part);
    if (bytes.byteLength > 0) writer.body(bytes);
    if (writer.finished) return this.#letGo();
    const room = writer.room();
    if (room === undefined) return;
    // A slow relay stops the reading, and nothing piles up here.
    this.#call?.pause();
    void room.then(() => this.#goOn());
  }

  #goOn(): void {
    if (this.#state.kind !== "answering") return;
    const room = this.#context.writer.room();
    if (room === undefined) this.#call?.resume();
    else void room.then(() => this.#goOn());
  }

  /** A worker that leaves must not take with it what its client has not made room for yet. */
  #leave(): void {
    if (this.#state.kind !== "leaving") return;
    const { writer } = this.#context;
    const room = writer.finished ? undefined : writer.room();
    if (room === undefined) this.#finish();
    else void room.then(() => this.#leave());
  }

  #letGo(): void {
    this.#call?.cancel();
    this.#finish();
  }

  #broke(error: unknown): void {
    if (this.#state.kind === "over") return;
    const { writer } = this.#context;
    this.#call?.cancel();
    if (error instanceof BackendError) {
      if (error.down) this.#context.backendFailed(error);
      writer.fail(error.status, error.message, error.code);
    } else {
      writer.fail(500, `The worker failed: ${messageOf(error)}`, "worker_failed");
    }
    this.#finish();
  }

  #finish(): void {
    this.#state = { kind: "over" };
    this.#context.done();
  }

  /** Nothing thrown may leave a socket's handler. */
  #guarded(act: () => void): void {
    try {
      act();
    } catch (error) {
      this.#broke(error);
    }
  }
}

const NO_BYTES = new Uint8Array(0);
const LF = 0x0a;
const CR = 0x0d;

/** Adds the backend's time to its head to whatever it says of itself (W3C Server Timing). */
function addTiming(headers: HeaderFields, ms: number): void {
  const own = timing("backend", ms);
  const given = headers["server-timing"];
  headers["server-timing"] = given === undefined ? own : `${own}, ${given}`;
}

function opensWithEvent({ status, headers }: ResponseHead): boolean {
  const type = headers["content-type"];
  return status === 200 && type !== undefined && /^text\/event-stream\b/i.test(type);
}

/** The head that an error has when its stream is taken back. */
function errorHeaders(headers: HeaderFields): HeaderFields {
  return { ...headers, "content-type": "application/json" };
}
