import type { RecordSink } from "../request-record.ts";
import { beginTrace, type RequestTrace } from "./request-trace.ts";
import { createSampler, type SamplerName } from "./sampler.ts";
import { SpanExporter, type ExporterConfig, type ExporterParts } from "./span-exporter.ts";

export interface TracingConfig extends ExporterConfig {
  sampler: SamplerName;
  /** Of the traces that a sampler by ratio keeps, from 0 to 1. */
  ratio: number;
}

/** A relay's part in traces. Without one a client's trace passes through untouched. */
export interface Tracing {
  /** @param id the relay's own id of the request */
  begin(request: Request, id: string): RequestTrace;
  ended: RecordSink;
  /** Sends what waits, for at most so many ms. Never rejects. */
  finish(limitMs: number): Promise<void>;
}

export function createTracing(config: TracingConfig, parts: ExporterParts): Tracing {
  const sampler = createSampler(config.sampler, config.ratio);
  const exporter = new SpanExporter(config, parts);
  return {
    begin: (request, id) => beginTrace(request, id, sampler),
    ended: (record) => {
      if (record.trace?.sampled === true) exporter.add(record);
    },
    finish: (limitMs) => exporter.finish(limitMs),
  };
}
