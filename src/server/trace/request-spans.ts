import { dialectOf, type Dialect } from "../../protocol/dialect.ts";
import type { RequestRecord } from "../request-record.ts";
import type { RequestTrace } from "./request-trace.ts";
import { operationOf, routeOf } from "./route.ts";
import { SPAN_KIND, type Attributes, type Span } from "./span.ts";
import { SAMPLED } from "./trace-context.ts";

/** Most spans that one request has. */
export const SPANS_PER_REQUEST = 4;

const REMOTE_IS_KNOWN = 0x100;
const REMOTE = 0x200;

/** Whose form of request it is; what runs behind a worker is nobody's business. */
const FORMAT: Record<Dialect, string> = {
  openai: "openai",
  "openai-responses": "openai",
  anthropic: "anthropic",
  ollama: "ollama",
};

/**
 * What happened to one request: `POST /v1/chat/completions` is the whole, below it `queue` until a worker
 * had it and `chat MODEL` from then on, below that `first byte`. A stage that was not reached has no span.
 *
 * Names and attributes are those of OpenTelemetry's semantic conventions for HTTP and for generative AI;
 * what they have no name for begins with `modelrelay.`. None of it is text that was asked or answered.
 */
export function spansOf(record: RequestRecord, trace: RequestTrace): Span[] {
  const { queuedAt, dispatchedAt, firstByteAt, endedAt } = record;
  // Stages are measured by a clock that never jumps, and told in the time of day at which the request came.
  const wall = (time: number) => record.at + (time - record.startedAt);
  const failed = record.outcome === "failed" || record.status >= 500;
  const below = (parentSpanId: string, from: number, to: number) => ({
    traceId: trace.traceId,
    parentSpanId,
    state: trace.state,
    flags: SAMPLED | REMOTE_IS_KNOWN,
    startedAt: wall(from),
    endedAt: wall(to),
  });
  const spans: Span[] = [
    {
      ...below("", record.startedAt, endedAt),
      spanId: trace.spanId,
      parentSpanId: trace.parent?.spanId,
      flags: SAMPLED | REMOTE_IS_KNOWN | (trace.parent === undefined ? 0 : REMOTE),
      name: `${record.method} ${routeOf(record.path)}`,
      kind: SPAN_KIND.server,
      attributes: requestAttributes(record, trace.scheme, failed),
      failed,
    },
  ];
  if (queuedAt !== undefined) {
    spans.push({
      ...below(trace.spanId, queuedAt, dispatchedAt ?? endedAt),
      spanId: newSpanId(),
      name: "queue",
      kind: SPAN_KIND.internal,
      attributes: {},
      failed: false,
    });
  }
  if (dispatchedAt === undefined) return spans;
  const operation = operationOf(record.path);
  spans.push({
    ...below(trace.spanId, dispatchedAt, endedAt),
    spanId: trace.workerSpanId,
    name: operation === undefined || record.model === "" ? "worker" : `${operation} ${record.model}`,
    kind: SPAN_KIND.client,
    attributes: { ...modelAttributes(record), ...errorAttributes(record, failed) },
    failed,
  });
  if (firstByteAt === undefined) return spans;
  spans.push({
    ...below(trace.workerSpanId, dispatchedAt, firstByteAt),
    spanId: newSpanId(),
    name: "first byte",
    kind: SPAN_KIND.internal,
    attributes: {},
    failed: false,
  });
  return spans;
}

function requestAttributes(record: RequestRecord, scheme: string, failed: boolean): Attributes {
  return {
    "http.request.method": record.method,
    "url.scheme": scheme,
    "url.path": record.path,
    "http.route": routeOf(record.path),
    // 499 stands for no answer: the client left before it was given one.
    "http.response.status_code": record.status === 499 ? undefined : record.status,
    "http.request.body.size": record.bytesIn,
    "http.response.body.size": record.bytesOut,
    "modelrelay.request.id": record.clientId,
    "modelrelay.outcome": record.outcome,
    "modelrelay.reason": record.reason === "" ? undefined : record.reason,
    ...modelAttributes(record),
    ...errorAttributes(record, failed),
  };
}

function modelAttributes(record: RequestRecord): Attributes {
  const { model, worker, dispatchedAt, firstByteAt, tokens } = record;
  if (model === "") return { "modelrelay.worker": worker };
  return {
    "gen_ai.operation.name": operationOf(record.path),
    "gen_ai.provider.name": FORMAT[dialectOf(record.path)],
    "gen_ai.request.model": model,
    "gen_ai.request.stream": record.streaming,
    "gen_ai.response.time_to_first_chunk":
      record.streaming && dispatchedAt !== undefined && firstByteAt !== undefined
        ? { seconds: (firstByteAt - dispatchedAt) / 1_000 }
        : undefined,
    "gen_ai.response.model": record.servedModel,
    "gen_ai.usage.input_tokens": tokens?.prompt,
    "gen_ai.usage.output_tokens": tokens?.completion,
    "gen_ai.usage.cache_read.input_tokens": tokens?.cached,
    "modelrelay.usage.estimated": tokens?.estimated === true ? true : undefined,
    "modelrelay.worker": worker,
  };
}

function errorAttributes({ reason, status }: RequestRecord, failed: boolean): Attributes {
  return failed ? { "error.type": reason === "" ? String(status) : reason } : {};
}

function newSpanId(): string {
  return crypto.getRandomValues(new Uint8Array(8)).toHex();
}
