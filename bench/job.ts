import type { Quantiles } from "./stats.ts";

/** What both kinds of work have in common. */
interface JobBase {
  /** Where `/v1` stands, such as `http://127.0.0.1:8080`. */
  baseUrl: string;
  /** How many at once. */
  connections: number;
  /** Not measured: connections open and code gets hot. */
  warmupMs: number;
  /** Length of the window that is measured. */
  durationMs: number;
}

/** Whole answers, one after the other on each connection. */
export interface RequestsJob extends JobBase {
  kind: "requests";
  /** Length of the request body. */
  requestBytes: number;
  /** Length of the text in the answer. */
  responseBytes: number;
  /** Makes the backend wait; for tests. */
  delayMs?: number;
}

/** Streamed answers. */
export interface StreamsJob extends JobBase {
  kind: "streams";
  /** Between two tokens of one stream; 0: flat out, and each connection starts a new stream at once. */
  intervalMs: number;
  /** Tokens of a flat-out stream. A paced one is as long as the window needs. */
  tokens: number;
  /** Tokens the backend writes together when flat out. */
  burst: number;
  /** Paced streams start spread over this time, so that their tokens do not come in step. */
  rampMs: number;
  /** Makes the backend claim a known delay; for tests. */
  backdateMs?: number;
}

export type Job = RequestsJob | StreamsJob;

export interface JobResult {
  /** Requests that ended inside the window. */
  requests: number;
  /** Tokens that arrived inside the window. */
  tokens: number;
  /** Tokens of the whole job, warm-up and tail included: what the processes' CPU time was spent on. */
  tokensTotal: number;
  /** Requests of the whole job. */
  requestsTotal: number;
  /** Length of the window, in ms. */
  windowMs: number;
  /** From the request's first byte leaving to the response's last byte, in ms; requests only. */
  latencyMs: Quantiles;
  /** From the backend writing a token to the generator reading it, in ms; streams only. */
  delayMs: Quantiles;
  /** Requests that failed, or whose answer was not exactly what was asked for. */
  failures: number;
  /** The first failure, in words. */
  failure?: string;
  /** CPU time of the generator over the job, as a share of one core. Near 1, it was the limit. */
  generatorCpu: number;
}
