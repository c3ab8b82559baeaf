import { OUTCOMES, type Outcome, type RequestRecord, type TokenUse } from "../request-record.ts";
import { Counts } from "./counts.ts";
import { labelText, type Exposition } from "./exposition.ts";
import { ANSWER_TIMES, GAP_TIMES, Histogram } from "./histogram.ts";
import {
  boundedStatus,
  NO_MODEL,
  OTHER,
  PATH_LABELS,
  pathIndex,
  statusText,
  UNKNOWN_MODEL,
} from "./labels.ts";

/** Models with series of their own; a model takes about a hundred lines. */
const MAX_MODEL_LABELS = 100;
/** Combinations of path, model, status and outcome. */
const MAX_REQUEST_SERIES = 2_000;
/** Reasons of one kind with a series of their own. */
const MAX_REASONS = 60;

/** What a worker can say of a failure is its own affair: of these the relay knows what they mean. */
const FAILURES = new Set([
  "backend_unreachable",
  "backend_timeout",
  "backend_error",
  "backend_not_streaming",
  "worker_lost",
  "worker_failed",
  "worker_draining",
  "worker_busy",
  "worker_model_mismatch",
  "worker_model_not_served",
  "worker_path_not_relayed",
  "worker_method_not_relayed",
  "worker_link_too_small",
  "worker_link_text_only",
]);

/** What is counted of one model. Times in seconds. */
class ModelSeries {
  /** By path, status and outcome as one number. */
  readonly requests = new Map<number, number>();
  readonly queueWait = new Histogram(ANSWER_TIMES);
  readonly firstByte = new Histogram(ANSWER_TIMES);
  readonly duration = new Histogram(ANSWER_TIMES);
  readonly meanGap = new Histogram(GAP_TIMES);
  readonly longestGap = new Histogram(GAP_TIMES);
  bytesIn = 0;
  bytesOut = 0;
  readonly reported = new TokenSums();
  readonly estimated = new TokenSums();
}

class TokenSums {
  prompt = 0;
  completion = 0;
  cached = 0;

  add({ prompt, completion, cached }: TokenUse): void {
    this.prompt += prompt;
    this.completion += completion;
    this.cached += cached;
  }
}

/** Knows models by their names, of which a client can invent as many as it likes. */
export interface ModelNames {
  /** Whether a worker offers it, or did. */
  wasOffered(model: string): boolean;
  /** How many workers would be asked for it now. */
  offering(model: string): number;
}

/** What ended requests add up to. Costs a request well under a microsecond, and a token nothing. */
export class RequestMetrics {
  readonly #names: ModelNames;
  readonly #models = new Map<string, ModelSeries>();
  readonly #cancels = new Counts(MAX_REASONS);
  readonly #refusals = new Counts(MAX_REASONS);
  readonly #failures = new Counts(MAX_REASONS);
  #series = 0;
  #named = 0;

  constructor(names: ModelNames) {
    this.#names = names;
  }

  /** Takes the record of a request that has ended. */
  ended(record: RequestRecord): void {
    const { outcome = "complete", firstByteAt, dispatchedAt, queuedAt, endedAt } = record;
    const series = this.#seriesOf(record.model);
    const code = (pathIndex(record.path) * 1_000 + boundedStatus(record.status)) * OUTCOMES.length;
    this.#count(series, code + OUTCOMES.indexOf(outcome));
    series.bytesIn += record.bytesIn;
    series.bytesOut += record.bytesOut;
    const { tokens } = record;
    if (tokens !== undefined) (tokens.estimated ? series.estimated : series.reported).add(tokens);
    if (outcome !== "complete") this.#endedBadly(record, outcome);
    if (queuedAt === undefined) return;
    const left = dispatchedAt ?? (outcome === "cancelled" || WAITED.has(record.reason) ? endedAt : undefined);
    if (left !== undefined) series.queueWait.observe((left - queuedAt) / 1_000);
    if (dispatchedAt === undefined) return;
    series.duration.observe((endedAt - record.startedAt) / 1_000);
    if (firstByteAt === undefined) return;
    series.firstByte.observe((firstByteAt - record.startedAt) / 1_000);
    if (!record.streaming || record.chunks < 2) return;
    series.meanGap.observe((record.lastChunkAt - record.firstChunkAt) / (record.chunks - 1) / 1_000);
    series.longestGap.observe(record.longestGapMs / 1_000);
  }

  /** Makes room for models that are new, where the places are taken by some that are gone. */
  tidy(): void {
    if (this.#named < MAX_MODEL_LABELS && this.#series < MAX_REQUEST_SERIES) return;
    for (const [model, { requests }] of this.#models) {
      if (isOurs(model) || this.#names.offering(model) > 0) continue;
      this.#models.delete(model);
      this.#series -= requests.size;
      this.#named--;
    }
  }

  write(out: Exposition): void {
    const models = [...this.#models].map(([model, series]) => ({
      model,
      labels: labelText({ model }),
      series,
    }));
    out.family(
      "modelrelay_requests_total",
      "counter",
      "Requests to an API that have ended, by path, model, HTTP status and outcome",
    );
    for (const { labels, series } of models) {
      for (const [code, count] of series.requests) {
        const outcome = OUTCOMES[code % OUTCOMES.length] ?? "complete";
        const rest = Math.floor(code / OUTCOMES.length);
        const path = PATH_LABELS[Math.floor(rest / 1_000)] ?? "";
        out.sample(`${labels},${labelText({ path, status: statusText(rest % 1_000), outcome })}`, count);
      }
    }
    for (const [name, help, of] of HISTOGRAMS) {
      out.family(name, "histogram", help);
      for (const { labels, series } of models) {
        const histogram = of(series);
        // A model nobody was served with would add a hundred lines of zeros.
        if (histogram.counts.some((count) => count > 0)) out.histogram(labels, histogram);
      }
    }
    out.family(
      "modelrelay_request_body_bytes_total",
      "counter",
      "Bytes of the bodies of ended requests, from clients",
    );
    for (const { labels, series } of models) out.sample(labels, series.bytesIn);
    out.family(
      "modelrelay_response_body_bytes_total",
      "counter",
      "Bytes of the bodies of ended answers, from backends",
    );
    for (const { labels, series } of models) out.sample(labels, series.bytesOut);
    for (const [name, help, of] of TOKENS) {
      out.family(name, "counter", help);
      for (const { labels, series } of models) {
        for (const source of ["reported", "estimated"] as const) {
          const sum = of(series[source]);
          if (sum > 0) out.sample(`${labels},${labelText({ source })}`, sum);
        }
      }
    }
    out.family(
      "modelrelay_model_workers",
      "gauge",
      "Connected workers that offer a model, for the models that were asked for",
    );
    for (const { model, labels } of models)
      if (!isOurs(model)) out.sample(labels, this.#names.offering(model));
    this.#writeReasons(out);
  }

  #writeReasons(out: Exposition): void {
    out.family(
      "modelrelay_cancels_total",
      "counter",
      "Requests that ended because the client left or was let go, by where they stood: queued, before_first_byte or streaming",
    );
    for (const [name, count] of this.#cancels.entries()) {
      const [phase = "", reason = OTHER] = name.split(" ");
      out.sample(labelText({ phase, reason }), count);
    }
    out.family(
      "modelrelay_refusals_total",
      "counter",
      "Requests that the relay answered by itself with an error, by the error's code; limits are among them",
    );
    for (const [reason, count] of this.#refusals.entries()) out.sample(labelText({ reason }), count);
    out.family(
      "modelrelay_failures_total",
      "counter",
      "Requests that failed at a worker or its backend, by the error's code",
    );
    for (const [reason, count] of this.#failures.entries()) out.sample(labelText({ reason }), count);
  }

  #seriesOf(named: string): ModelSeries {
    const held = this.#models.get(named);
    if (held !== undefined && !isOurs(named)) return held;
    if (named === "") return this.#ownSeries(NO_MODEL);
    if (!this.#names.wasOffered(named)) return this.#ownSeries(UNKNOWN_MODEL);
    if (this.#named >= MAX_MODEL_LABELS || isOurs(named)) return this.#ownSeries(OTHER);
    this.#named++;
    return this.#ownSeries(named);
  }

  #ownSeries(label: string): ModelSeries {
    let series = this.#models.get(label);
    if (series === undefined) this.#models.set(label, (series = new ModelSeries()));
    return series;
  }

  #count(series: ModelSeries, code: number): void {
    const count = series.requests.get(code);
    if (count !== undefined) return void series.requests.set(code, count + 1);
    const other = this.#ownSeries(OTHER);
    if (this.#series >= MAX_REQUEST_SERIES && series !== other) return this.#count(other, code);
    this.#series++;
    series.requests.set(code, 1);
  }

  #endedBadly(record: RequestRecord, outcome: Exclude<Outcome, "complete">): void {
    const { reason } = record;
    if (outcome === "refused") this.#refusals.add(reason === "" ? OTHER : reason);
    else if (outcome === "failed") this.#failures.add(FAILURES.has(reason) ? reason : OTHER);
    else this.#cancels.add(`${phaseOf(record)} ${reason === "" ? OTHER : reason}`);
  }
}

/** Refusals of requests that have waited in the queue. */
const WAITED = new Set(["queue_timeout", "request_timeout"]);

const TOKENS: [name: string, help: string, of: (sums: TokenSums) => number][] = [
  [
    "modelrelay_prompt_tokens_total",
    "Tokens of prompts, as the backend reported them or as estimated where it reported none",
    ({ prompt }) => prompt,
  ],
  [
    "modelrelay_completion_tokens_total",
    "Tokens of answers, as the backend reported them or as estimated where it reported none",
    ({ completion }) => completion,
  ],
  [
    "modelrelay_cached_tokens_total",
    "Of the prompts' tokens, those that the backend had already",
    ({ cached }) => cached,
  ],
];

const HISTOGRAMS: [name: string, help: string, of: (series: ModelSeries) => Histogram][] = [
  [
    "modelrelay_queue_wait_seconds",
    "Time from when a request was read to when a worker had it, the last one if several did, or to when it was given up in the queue",
    ({ queueWait }) => queueWait,
  ],
  [
    "modelrelay_first_byte_seconds",
    "Time from a request's arrival to the first byte of its answer's body from the backend",
    ({ firstByte }) => firstByte,
  ],
  [
    "modelrelay_request_duration_seconds",
    "Time from a request's arrival to the end of its answer from the backend, for requests that a worker had",
    ({ duration }) => duration,
  ],
  [
    "modelrelay_stream_mean_gap_seconds",
    "One value a stream: the mean time between two parts of it, as they came from the backend; about the time of a token",
    ({ meanGap }) => meanGap,
  ],
  [
    "modelrelay_stream_longest_gap_seconds",
    "One value a stream: the longest time between two parts of it, after the first",
    ({ longestGap }) => longestGap,
  ],
];

function isOurs(label: string): boolean {
  return label === NO_MODEL || label === UNKNOWN_MODEL || label === OTHER;
}

function phaseOf({ dispatchedAt, firstByteAt }: RequestRecord): string {
  if (dispatchedAt === undefined) return "queued";
  return firstByteAt === undefined ? "before_first_byte" : "streaming";
}
