import type { Clock, Timer } from "../base/clock.ts";
import { timing } from "../base/server-timing.ts";
import { errorEvent, type Dialect } from "../protocol/dialect.ts";
import { responseHeadersForClient } from "../protocol/headers.ts";
import type { CancelReason, LinkRequest, ResponseHead } from "../protocol/messages.ts";
import { AnswerHeaders } from "./answer-headers.ts";
import type { ByteBudget } from "./byte-budget.ts";
import type { ClientError } from "./client-error.ts";
import { idHeaders, keepAlive, STREAM_HEADERS, STREAM_TYPE } from "./dialect.ts";
import { errorResponse } from "./error-response.ts";
import { isBodiless, type AnswerEvents, type AnswerHolder, type ExchangeState } from "./exchange-state.ts";
import { lateError, MAX_LATE_ERROR } from "./late-answer.ts";
import type { RequestRecord } from "./request-record.ts";
import { MAX_WHOLE, ResponseStream } from "./response-stream.ts";
import { AnswerUsage } from "./usage/answer-usage.ts";

const encoder = new TextEncoder();
const answerHeaders = new AnswerHeaders();

/** What an exchange needs from its surroundings. */
export interface ExchangeContext {
  clock: Clock;
  budget: ByteBudget;
  /** Silence after which a stream gets a keep-alive, in ms; 0 = never. */
  keepaliveMs: number;
  /** Bytes held for a client that does not read. */
  maxHeld: number;
  /** The client will not take the rest: nothing may run on for it. */
  gone(exchange: Exchange, reason: CancelReason): void;
  /** The shared budget is used up: somebody has to give way. */
  overBudget(): void;
}

/**
 * One client's request and the answer to it.
 *
 * ```
 * waiting ──head──► opening ──end in the turn of the first byte──► closed     (a whole answer, with its length)
 *    │                 └──────────next turn───────────► open ──► closed         (a stream)
 *    └─────keep-alive due─────────────────────────────► kept ──► open or closed
 * ```
 *
 * Before the first byte of its body an answer can still be taken back: as an error, or by a worker that
 * runs the request again.
 */
export class Exchange {
  readonly request: LinkRequest;
  readonly dialect: Dialect;
  readonly record: RequestRecord;
  readonly usage: AnswerUsage;
  readonly arrivedAt: number;
  /** Status that the backend answered with, whatever the client was told by then. */
  backendStatus: number | undefined;
  readonly #context: ExchangeContext;
  readonly #client: AnswerEvents;
  #state: ExchangeState = { phase: "waiting" };
  #begun = false;
  #holder: AnswerHolder | undefined;
  #lastByteAt: number;
  #keepaliveTimer: Timer | undefined;

  constructor(
    request: LinkRequest,
    dialect: Dialect,
    record: RequestRecord,
    context: ExchangeContext,
    client: AnswerEvents,
    usage = new AnswerUsage(),
  ) {
    this.request = request;
    this.usage = usage;
    this.#client = client;
    this.dialect = dialect;
    this.record = record;
    this.#context = context;
    this.arrivedAt = context.clock.now();
    record.queuedAt = this.arrivedAt;
    this.#lastByteAt = this.arrivedAt;
    if (request.streaming && context.keepaliveMs > 0 && keepAlive(dialect) !== undefined)
      this.#armKeepalive(context.keepaliveMs);
  }

  /** Bytes that wait for the client to read. */
  get heldBytes(): number {
    const state = this.#state;
    return state.phase === "open" || state.phase === "kept" ? state.stream.heldBytes : 0;
  }

  /** Whether a byte of the answer's body has come. */
  get begun(): boolean {
    return this.#begun;
  }

  /**
   * The request has been handed to a worker, for the first time or again.
   *
   * @param worker its name
   * @param holder told of each part of the answer that has left, which makes room for as much more
   */
  dispatched(worker: string, holder: AnswerHolder): void {
    this.record.worker = worker;
    this.record.dispatchedAt = this.#context.clock.now();
    this.#holder = holder;
    const state = this.#state;
    // A head whose worker was lost says nothing about the answer that the next one gives.
    if (state.phase === "opening") this.#state = { phase: "waiting" };
    else if (state.phase === "kept" || (state.phase === "open" && !this.#begun))
      this.#state = { phase: "kept", stream: state.stream, refused: undefined };
  }

  head(head: ResponseHead): void {
    this.backendStatus = head.status;
    this.usage.head(head);
    if (this.usage.refused) return;
    if (this.#state.phase === "kept") {
      const type = head.headers["content-type"] ?? "";
      if (head.status < 300 && type.startsWith("text/event-stream")) {
        this.#state = { phase: "open", stream: this.#state.stream, events: true };
      } else {
        this.#state.refused = { head, body: [], bytes: 0 };
      }
    } else if (this.#state.phase === "waiting") {
      this.#state = { phase: "opening", head, early: [] };
    }
  }

  body(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.usage.refused) return this.taken(bytes.length);
    if (!this.#begun) {
      this.#begun = true;
      this.record.firstByteAt = this.#context.clock.now();
    }
    const passed = this.usage.pass(bytes, this);
    if (passed.length > 0) this.#pass(passed);
  }

  taken(bytes: number): void {
    this.#holder?.consumed(this.request.id, bytes);
  }

  #pass(bytes: Uint8Array<ArrayBuffer>): void {
    const state = this.#state;
    this.record.answered(bytes);
    switch (state.phase) {
      case "opening":
        // An answer that is complete within this turn goes out whole, with its length.
        if (state.early.push(bytes) === 1) queueMicrotask(() => this.#open());
        return;
      case "open":
        return this.#push(state.stream, bytes);
      case "kept":
        if (state.refused !== undefined && state.refused.bytes < MAX_LATE_ERROR) {
          state.refused.body.push(bytes);
          state.refused.bytes += bytes.length;
        }
        return this.taken(bytes.length);
      case "waiting":
      case "closed":
        return;
    }
  }

  end(): void {
    this.#passRest(true);
    const state = this.#state;
    switch (state.phase) {
      case "opening": {
        if (this.record.bytesOut > MAX_WHOLE) {
          this.#open();
          return this.end();
        }
        this.#close();
        const [only] = state.early;
        const whole = state.early.length === 1 ? only : Buffer.concat(state.early);
        return this.#answer(state.head, whole?.length === 0 ? null : (whole ?? null));
      }
      case "open":
        this.#close();
        return state.stream.end();
      case "kept":
        return this.fail(lateError(state.refused));
      case "waiting":
      case "closed":
        return;
    }
  }

  /** What was held back leaves before the end. */
  #passRest(whole: boolean): void {
    const rest = this.usage.rest(whole, this);
    if (rest !== undefined) this.#pass(rest);
  }

  /** Ends the exchange with an error: as the answer, or inside the stream that has begun. */
  fail(error: ClientError): void {
    this.#passRest(false);
    const state = this.#state;
    this.record.settle(error.origin === "relay" ? "refused" : "failed", error.code);
    this.#close();
    switch (state.phase) {
      case "waiting":
      case "opening":
        this.record.status = error.status;
        this.#client.whole();
        return this.#client.answer(
          errorResponse(error, this.dialect, this.record.clientId, this.record.allowance),
        );
      case "kept":
      case "open": {
        // In a stream of events the error is one more event; elsewhere only a broken connection says
        // that the body is not whole.
        if (state.phase === "open" && !state.events) return state.stream.break(error.message);
        state.stream.push(encoder.encode(errorEvent(this.dialect, error, state.stream.boundary)));
        return state.stream.end();
      }
      case "closed":
        return;
    }
  }

  /** Notes what it has taken; once it is over. */
  countTokens(): void {
    this.usage.settle(this.record, this.request);
  }

  /** The client has gone away. */
  leave(): void {
    if (this.#state.phase === "closed") return;
    this.abandon();
    this.#context.gone(this, "client_disconnect");
  }

  /** Lets go of everything at once; the client's connection breaks. */
  abandon(): void {
    const state = this.#state;
    this.#close();
    if (state.phase === "open" || state.phase === "kept")
      state.stream.abandon("The relay let go of a client that does not read");
    else this.#client.answer(new Response(null, { status: 499 }));
  }

  #close(): void {
    this.#state = { phase: "closed" };
    this.#keepaliveTimer?.cancel();
  }

  #open(): void {
    const state = this.#state;
    if (state.phase !== "opening") return;
    const stream = this.#newStream();
    // Nobody will ever read it: what it held would be held for good.
    if (isBodiless(this.request.method, state.head.status)) stream.abandon("This answer has no body");
    const events = STREAM_TYPE.test(state.head.headers["content-type"] ?? "");
    this.#state = { phase: "open", stream, events };
    for (const bytes of state.early) this.#push(stream, bytes);
    this.#answer(state.head, stream.body);
  }

  #newStream(): ResponseStream {
    const left = (): void => {
      if (this.#state.phase === "closed") return;
      this.#close();
      this.#context.gone(this, "client_disconnect");
    };
    return new ResponseStream(this.#context.budget, {
      taken: (bytes) => this.taken(bytes),
      read: () => this.#client.whole(),
      cancelled: left,
    });
  }

  #push(stream: ResponseStream, bytes: Uint8Array<ArrayBuffer>): void {
    const now = this.#context.clock.now();
    this.record.chunkAt(now);
    this.#send(stream, bytes, now);
  }

  #send(stream: ResponseStream, bytes: Uint8Array<ArrayBuffer>, now: number): void {
    this.#lastByteAt = now;
    if (stream.heldBytes + bytes.length > this.#context.maxHeld) {
      this.abandon();
      return this.#context.gone(this, { other: "slow_client" });
    }
    if (stream.push(bytes)) return;
    this.#context.overBudget();
    if (stream.push(bytes)) return;
    this.abandon();
    this.#context.gone(this, { other: "relay_memory" });
  }

  #answer(head: ResponseHead, body: ReadableStream | Uint8Array<ArrayBuffer> | null): void {
    this.record.status = head.status;
    const headers = responseHeadersForClient(head.headers);
    // A "request-id" of the backend's own is left: the error beneath it may quote it.
    const ids = idHeaders(this.dialect, this.record.clientId);
    for (const name in ids) headers[name] ??= ids[name]!;
    headers["server-timing"] = this.#timing(headers["server-timing"]);
    if (head.status >= 400) headers["x-modelrelay-error"] = "backend";
    this.record.allowance?.stamp(headers);
    if (STREAM_TYPE.test(headers["content-type"] ?? "")) Object.assign(headers, STREAM_HEADERS);
    const sent = isBodiless(this.request.method, head.status) ? null : body;
    if (!(sent instanceof ReadableStream)) this.#client.whole();
    this.#client.answer(new Response(sent, { status: head.status, headers: answerHeaders.of(headers) }));
  }

  /** Queue and worker time in ms (W3C Server Timing); the worker adds its backend's. */
  #timing(fromWorker: string | undefined): string {
    const now = this.#context.clock.now();
    const dispatchedAt = this.record.dispatchedAt ?? now;
    const own = `${timing("queue", dispatchedAt - this.arrivedAt)}, ${timing("worker", now - dispatchedAt)}`;
    return fromWorker === undefined ? own : `${own}, ${fromWorker}`;
  }

  /** One timer a stream, set again only when it fires: nothing is done per token. */
  #armKeepalive(delayMs: number): void {
    this.#keepaliveTimer = this.#context.clock.after(delayMs, () => {
      const silentFor = this.#context.clock.now() - this.#lastByteAt;
      // Timers may fire a little early; a wait of less than a millisecond is over.
      if (silentFor + 1 < this.#context.keepaliveMs)
        return this.#armKeepalive(this.#context.keepaliveMs - silentFor);
      this.#keepAlive();
      if (this.#state.phase !== "closed") this.#armKeepalive(this.#context.keepaliveMs);
    });
  }

  #keepAlive(): void {
    const ping = keepAlive(this.dialect);
    if (ping === undefined) return;
    if (this.#state.phase === "waiting") {
      const stream = this.#newStream();
      this.#state = { phase: "kept", stream, refused: undefined };
      this.#answer({ status: 200, headers: { "content-type": "text/event-stream" } }, stream.body);
    }
    // A stream of which only the head has come is as silent as one without.
    if (this.#state.phase === "opening" && STREAM_TYPE.test(this.#state.head.headers["content-type"] ?? ""))
      this.#open();
    const state = this.#state;
    if (state.phase !== "kept" && !(state.phase === "open" && state.events)) return;
    // A comment may stand between the lines of an event, an event only between events.
    const boundary = state.stream.boundary;
    const fits = boundary === "event" || (boundary === "line" && ping.startsWith(":"));
    if (fits && state.stream.heldBytes === 0)
      this.#send(state.stream, encoder.encode(ping), this.#context.clock.now());
  }
}
