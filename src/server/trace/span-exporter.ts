import { backoffMs } from "../../base/backoff.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import { wait } from "../../base/wait.ts";
import type { RequestRecord } from "../request-record.ts";
import { postSpans, type Collector, type Delivery } from "./otlp-http.ts";
import { encodeSpans, type Resource } from "./otlp-json.ts";
import { spansOf, SPANS_PER_REQUEST } from "./request-spans.ts";

export interface ExporterConfig extends Collector {
  resource: Resource;
  /** Longest time of one try. */
  timeoutMs: number;
}

export interface ExporterParts {
  clock: Clock;
  log: Log;
  /** In [0, 1); spreads the tries of relays that lost one collector together. */
  random: () => number;
}

/** Requests whose spans go together: 512 spans, as OpenTelemetry's own exporters send. */
export const MAX_BATCH = 512 / SPANS_PER_REQUEST;
/** Requests that may wait; one more is lost. */
export const MAX_WAITING = 16 * MAX_BATCH;
/** Longest that a request waits for others to fill its batch, in ms. */
export const BATCH_MS = 5_000;

const MAX_TRIES = 5;
const BACKOFF = { baseMs: 1_000, capMs: 30_000 };
/** Longest that a collector can ask to wait. */
const MAX_ASKED_MS = 5 * 60_000;

/**
 * Sends the spans of requests that have ended. Takes no time of the requests': they only join a queue,
 * become spans a batch at a time, in a turn of their own, and one batch is on its way at once.
 */
export class SpanExporter {
  readonly #config: ExporterConfig;
  readonly #parts: ExporterParts;
  readonly #host: string;
  /** Ended requests, oldest first. */
  #waiting: RequestRecord[] = [];
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  /** Tries in a row that failed. */
  #failures = 0;
  /** Time before which the collector does not want to be asked. */
  #askAgainAt = 0;
  #lost = 0;
  /** Spans that the collector took the batch of, and did not want. */
  #rejected = 0;
  /** Lost when the trouble was last over. */
  #lostBefore = 0;
  #finished: Promise<void> | undefined;
  /** Aborted when nothing more comes: who rests need not rest on. */
  readonly #closing = new AbortController();
  /** Aborted when there is no time left. */
  readonly #cut = new AbortController();

  constructor(config: ExporterConfig, parts: ExporterParts) {
    this.#config = config;
    this.#parts = parts;
    this.#host = new URL(config.url).host;
  }

  /** Requests whose spans were given up. */
  get lost(): number {
    return this.#lost;
  }

  /** @param record of a request that has ended and is traced */
  add(record: RequestRecord): void {
    if (this.#finished !== undefined || this.#waiting.length >= MAX_WAITING)
      return this.#lose(1, "too many wait for the collector");
    const waiting = this.#waiting.push(record);
    if (this.#sending !== undefined) return;
    if (waiting === 1) this.#arm(BATCH_MS);
    else if (waiting === MAX_BATCH) this.#arm(0);
  }

  /**
   * Sends what waits, each batch once, and takes no more. Never rejects.
   *
   * @param limitMs time after which what is left is given up
   */
  finish(limitMs: number): Promise<void> {
    return (this.#finished ??= this.#finish(limitMs));
  }

  async #finish(limitMs: number): Promise<void> {
    this.#timer?.cancel();
    this.#closing.abort();
    if (limitMs <= 0) this.#cut.abort();
    const limit = this.#parts.clock.after(limitMs, () => this.#cut.abort());
    await this.#sending;
    let reachable = true;
    while (reachable && this.#waiting.length > 0) reachable = await this.#deliver(this.#nextBatch());
    limit.cancel();
    if (this.#waiting.length > 0) this.#lose(this.#waiting.length, "the relay stops");
    this.#waiting = [];
    if (this.#lost + this.#rejected > 0)
      this.#parts.log.warn("Not every trace reached the collector", {
        lost_requests: this.#lost,
        rejected_spans: this.#rejected,
      });
  }

  #arm(delayMs: number): void {
    this.#timer?.cancel();
    this.#timer = this.#parts.clock.after(delayMs, () => {
      this.#sending = this.#send();
    });
  }

  async #send(): Promise<void> {
    do await this.#deliver(this.#nextBatch());
    while (this.#waiting.length >= MAX_BATCH && !this.#closing.signal.aborted);
    this.#sending = undefined;
    if (this.#waiting.length > 0 && !this.#closing.signal.aborted) this.#arm(BATCH_MS);
  }

  #nextBatch(): RequestRecord[] {
    return this.#waiting.splice(0, MAX_BATCH);
  }

  /** @returns whether the collector answered for good, to take it or not */
  async #deliver(batch: readonly RequestRecord[]): Promise<boolean> {
    const spans = batch.flatMap((record) =>
      record.trace === undefined ? [] : spansOf(record, record.trace),
    );
    const body = encodeSpans(this.#config.resource, spans);
    for (let tries = 1; ; tries++) {
      await this.#rest();
      const isLast = tries >= MAX_TRIES || this.#closing.signal.aborted;
      const delivery = await this.#try(body);
      switch (delivery.kind) {
        case "taken":
          this.#recovered();
          if (delivery.rejected > 0) this.#reject(delivery);
          return true;
        case "refused":
          this.#failures = 0;
          this.#lose(batch.length, delivery.reason);
          return true;
        case "later":
          this.#failed(delivery);
          if (!isLast && !this.#cut.signal.aborted) continue;
          this.#lose(batch.length, delivery.reason);
          return false;
      }
    }
  }

  /** Waits as long as the last failures ask for. */
  async #rest(): Promise<void> {
    const { clock, random } = this.#parts;
    if (this.#failures === 0 || this.#closing.signal.aborted) return;
    const asked = this.#askAgainAt - clock.now();
    const restMs = Math.max(asked, backoffMs(this.#failures, BACKOFF, random));
    try {
      await wait(clock, restMs, this.#closing.signal);
    } catch {
      // The relay stops: one last try.
    }
  }

  async #try(body: string): Promise<Delivery> {
    const { clock } = this.#parts;
    if (this.#cut.signal.aborted) return { kind: "later", reason: "the relay stops", afterMs: 0 };
    if (this.#askAgainAt > clock.now())
      return { kind: "later", reason: "the collector asked for time", afterMs: 0 };
    const ended = new AbortController();
    const end = (reason: string) => ended.abort(new Error(reason));
    const stop = () => end("the relay stops");
    this.#cut.signal.addEventListener("abort", stop);
    const limit = clock.after(this.#config.timeoutMs, () => end("no answer in time"));
    const answer = await postSpans(this.#config, body, clock.wall(), ended.signal);
    limit.cancel();
    this.#cut.signal.removeEventListener("abort", stop);
    return answer;
  }

  #failed({ reason, afterMs }: Extract<Delivery, { kind: "later" }>): void {
    const { clock, log } = this.#parts;
    if (afterMs > 0) this.#askAgainAt = clock.now() + Math.min(afterMs, MAX_ASKED_MS);
    if (++this.#failures === 1 && !this.#cut.signal.aborted)
      log.warn("The collector takes no traces; they wait, and are lost if there are too many", {
        collector: this.#host,
        reason,
      });
  }

  #recovered(): void {
    if (this.#failures === 0 && this.#lost === this.#lostBefore) return;
    this.#parts.log.info("The collector takes traces again", {
      collector: this.#host,
      lost: this.#lost - this.#lostBefore,
    });
    this.#failures = 0;
    this.#lostBefore = this.#lost;
  }

  /** Says the first of a row: a collector that is away for a day must not fill the log. */
  #lose(requests: number, reason: string): void {
    const isFirst = this.#lost === this.#lostBefore;
    this.#lost += requests;
    if (isFirst)
      this.#parts.log.warn("Traces of requests are lost", { requests, collector: this.#host, reason });
  }

  #reject({ rejected, reason }: Extract<Delivery, { kind: "taken" }>): void {
    if (this.#rejected === 0)
      this.#parts.log.warn("The collector rejects spans", { spans: rejected, collector: this.#host, reason });
    this.#rejected += rejected;
  }
}
