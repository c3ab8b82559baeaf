import type { Sampler } from "./sampler.ts";
import { formatTraceParent, parseTraceParent, SAMPLED, type TraceParent } from "./trace-context.ts";

/** What a request's record keeps of its trace. */
export interface RequestTrace {
  readonly traceId: string;
  /** The client's span; `undefined` if the trace begins here. */
  readonly parent: TraceParent | undefined;
  /** As the client sent it; empty if there is none, or if it belongs to no trace. */
  readonly state: string;
  readonly sampled: boolean;
  /** Span of the whole request. */
  readonly spanId: string;
  /** Span of what happens at the worker, which is what the backend's own spans hang from. */
  readonly workerSpanId: string;
  /** `https` or `http`. */
  readonly scheme: string;
}

/**
 * Finds out of which trace a request is a part, or begins one.
 *
 * @param id a UUID of the relay's own; without its dashes it names a trace that begins here
 */
export function beginTrace(request: Request, id: string, sampler: Sampler): RequestTrace {
  const parent = parseTraceParent(request.headers.get("traceparent"));
  const traceId = parent?.traceId ?? id.replaceAll("-", "");
  const ids = crypto.getRandomValues(new Uint8Array(16)).toHex();
  return {
    traceId,
    parent,
    state: parent === undefined ? "" : (request.headers.get("tracestate") ?? ""),
    sampled: sampler(traceId, parent),
    spanId: ids.slice(0, 16),
    workerSpanId: ids.slice(16),
    scheme: request.url.startsWith("https:") ? "https" : "http",
  };
}

/** Writes into a request's fields what its worker and its backend are to know of the trace. */
export function passTraceOn(trace: RequestTrace, fields: Record<string, string>): void {
  const { traceId, parent, sampled, workerSpanId } = trace;
  // The state describes the trace that the other field names (§3.3); alone it means nothing.
  if (parent === undefined) delete fields["tracestate"];
  const wasSampled = parent !== undefined && (parent.flags & SAMPLED) !== 0;
  // Whoever records nothing and decides nothing stays out of the trace.
  if (parent !== undefined && !sampled && !wasSampled) return;
  const flags = ((parent?.flags ?? 0) & ~SAMPLED) | (sampled ? SAMPLED : 0);
  fields["traceparent"] = formatTraceParent({ traceId, spanId: workerSpanId, flags });
}
