import { version } from "../../base/build-info.ts";
import type { Attributes, AttributeValue, Span } from "./span.ts";

/**
 * OTLP's JSON form (https://opentelemetry.io/docs/specs/otlp/#json-protobuf-encoding): field names in
 * lowerCamelCase, enumerations as numbers, ids in hexadecimal, whole numbers of 64 bits as text.
 */

/** Who the spans are of. */
export type Resource = Readonly<Record<string, string>>;

const STATUS_ERROR = 2;

/** Longer text is cut; a model's name may be as long as a worker likes. */
const MAX_TEXT = 1_024;

/** The body of an `ExportTraceServiceRequest`. */
export function encodeSpans(resource: Resource, spans: readonly Span[]): string {
  return JSON.stringify({
    resourceSpans: [
      {
        resource: { attributes: encodeAttributes(resource) },
        scopeSpans: [{ scope: { name: "modelrelay", version }, spans: spans.map(encodeSpan) }],
      },
    ],
  });
}

function encodeSpan(span: Span): object {
  return {
    traceId: span.traceId,
    spanId: span.spanId,
    traceState: span.state === "" ? undefined : span.state,
    parentSpanId: span.parentSpanId,
    flags: span.flags,
    name: span.name,
    kind: span.kind,
    startTimeUnixNano: nanoseconds(span.startedAt),
    endTimeUnixNano: nanoseconds(span.endedAt),
    attributes: encodeAttributes(span.attributes),
    status: span.failed ? { code: STATUS_ERROR } : undefined,
  };
}

function encodeAttributes(attributes: Attributes): object[] {
  const encoded: object[] = [];
  for (const key in attributes) {
    const value = attributes[key];
    if (value !== undefined) encoded.push({ key, value: encodeValue(value) });
  }
  return encoded;
}

function encodeValue(value: AttributeValue): object {
  if (typeof value === "string") return { stringValue: value.slice(0, MAX_TEXT).toWellFormed() };
  if (typeof value === "boolean") return { boolValue: value };
  return typeof value === "number" ? { intValue: String(value) } : { doubleValue: value.seconds };
}

/** @param ms with fractions; a number cannot hold nanoseconds since 1970, so they are put together as text */
function nanoseconds(ms: number): string {
  const whole = Math.floor(ms);
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, "0")}`;
}
