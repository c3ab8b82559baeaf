import type { LinkRequest, ResponseHead } from "../../protocol/messages.ts";
import type { ByteBudget } from "../byte-budget.ts";
import { answerTokens, leastNeed, promptTokens } from "../limits/estimate.ts";
import type { RequestRecord } from "../request-record.ts";
import type { AskingBody } from "./ask-usage.ts";
import { EventFilter } from "./event-filter.ts";
import type { Report } from "./reported.ts";
import { createUsageReader, framingOf, type UsageReader } from "./usage-reader.ts";

/** With these a backend refuses a field that it does not know. */
const REFUSES_FIELDS = new Set([400, 422]);

/** Is told how many bytes of an answer are done with. */
export interface Taker {
  taken(bytes: number): void;
}

/**
 * What is done with one answer for the sake of its tokens: it is looked at as it passes, and what the relay
 * has asked for on its own account is taken out again.
 */
export class AnswerUsage {
  #asking: AskingBody | undefined;
  /** The backend refuses the request, and it may be for what the relay has asked: another try follows. */
  #refused = false;
  /** There was such a refusal, and the request was sent as its client wrote it. */
  #withdrawn = false;
  #reader: UsageReader | undefined;
  #filter: EventFilter | undefined;

  /** @param asking the request's body, if it asks for more than its client does */
  constructor(asking?: AskingBody) {
    this.#asking = asking;
  }

  /** The request asks for usage on the relay's account. */
  get asks(): boolean {
    return this.#asking !== undefined;
  }

  /** The answer that comes is a refusal of what the relay has asked for, and not for the client. */
  get refused(): boolean {
    return this.#refused;
  }

  /** Whether the backend takes this request only without what the relay had asked for. */
  get wasRefused(): boolean {
    return this.#withdrawn;
  }

  /** Makes the request what its client sent. */
  withdraw(request: LinkRequest, budget: ByteBudget): void {
    if (this.#asking === undefined) return;
    this.#withdrawn = this.#refused;
    this.#refused = false;
    const { length } = request.body;
    request.body = this.#asking.original();
    budget.give(length - request.body.length);
    this.#asking = undefined;
  }

  /** The head of an answer has come. */
  head({ status, headers }: ResponseHead): void {
    this.#refused = this.#asking !== undefined && REFUSES_FIELDS.has(status);
    const framing = status < 300 ? framingOf(headers["content-type"] ?? "") : undefined;
    const readable = framing !== undefined && headers["content-encoding"] === undefined;
    this.#reader = readable ? createUsageReader(framing) : undefined;
    this.#filter = readable && this.asks && framing === "events" ? new EventFilter() : undefined;
  }

  /**
   * Looks at a part of the answer. Called for each token.
   *
   * @param taker told of bytes that do not go to the client
   * @returns what goes to the client now; empty if that is nothing
   */
  pass(part: Uint8Array<ArrayBuffer>, taker: Taker): Uint8Array<ArrayBuffer> {
    if (this.#reader === undefined) return part;
    const plain = this.#reader.feed(part);
    if (this.#filter === undefined) return part;
    const passed = this.#filter.take(part, plain);
    if (!plain) this.#tellRemoved(this.#filter, taker);
    return passed;
  }

  /**
   * What was held back, now that nothing more comes.
   *
   * @param whole the answer has come to its end
   */
  rest(whole: boolean, taker: Taker): Uint8Array<ArrayBuffer> | undefined {
    const filter = this.#filter;
    if (filter === undefined) return undefined;
    const rest = filter.rest(whole);
    this.#tellRemoved(filter, taker);
    return rest;
  }

  /** Notes what the request has taken; once it is over. */
  settle(record: RequestRecord, request: LinkRequest): void {
    if (record.dispatchedAt === undefined) return;
    const report = this.#reader?.report() ?? {};
    record.servedModel = report.model;
    if (isAnswered(record) && leastNeed(record.method, record.path).sure > 0)
      record.tokens = this.#tokensOf(record, request, report);
  }

  #tokensOf(record: RequestRecord, request: LinkRequest, report: Report): RequestRecord["tokens"] {
    const { prompt, completion, cached = 0 } = report;
    const whole = record.outcome === undefined || record.outcome === "complete";
    if (prompt !== undefined && completion !== undefined && whole)
      return { prompt, completion, cached, estimated: false };
    return {
      prompt: prompt ?? promptOf(record, request),
      // What was reported in the middle of a stream is not the end of it.
      completion:
        whole && completion !== undefined ? completion : Math.max(completion ?? 0, this.#made(record)),
      cached,
      estimated: true,
    };
  }

  /** Tokens of the answer so far, by its length: in a stream mostly each is an event. */
  #made(record: RequestRecord): number {
    if (this.#reader === undefined) return 0;
    const { eventBytes } = this.#reader;
    if (eventBytes === undefined) return answerTokens(record.bytesOut, record.streaming);
    return Math.round(record.bytesOut / eventBytes);
  }

  #tellRemoved(filter: EventFilter, taker: Taker): void {
    const removed = filter.takeRemoved();
    if (removed > 0) taker.taken(removed);
  }
}

/** What no backend has answered, or with an error, has cost nothing; what broke off has cost what was made. */
function isAnswered({ outcome = "complete", firstByteAt, status }: RequestRecord): boolean {
  return outcome === "complete" ? status < 400 : firstByteAt !== undefined;
}

/** By its length, without what the relay has added. */
function promptOf({ bytesIn }: RequestRecord, { headers, body }: LinkRequest): number {
  if (headers["content-type"]?.startsWith("multipart/") === true) return 0;
  return Math.max(
    0,
    promptTokens(body as Uint8Array<ArrayBuffer>) - answerTokens(body.length - bytesIn, false),
  );
}
