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

/** The body of an `ExportTraceServiceRequest`, put together as text: half the time of objects for `JSON.stringify`. */
export function encodeSpans(resource: Resource, spans: readonly Span[]): string {
  const scope = `{"name":"modelrelay","version":${JSON.stringify(version)}}`;
  const scopeSpans = `{"scope":${scope},"spans":[${spans.map(encodeSpan).join(",")}]}`;
  return `{"resourceSpans":[{"resource":{"attributes":${encodeAttributes(resource)}},"scopeSpans":[${scopeSpans}]}]}`;
}

function encodeSpan(span: Span): string {
  const parent = span.parentSpanId === undefined ? "" : `,"parentSpanId":"${span.parentSpanId}"`;
  const state = span.state === "" ? "" : `,"traceState":${encodeText(span.state)}`;
  const status = span.failed ? `,"status":{"code":${STATUS_ERROR}}` : "";
  const times = `"startTimeUnixNano":"${nanoseconds(span.startedAt)}","endTimeUnixNano":"${nanoseconds(span.endedAt)}"`;
  return `{"traceId":"${span.traceId}","spanId":"${span.spanId}"${parent}${state},"flags":${span.flags},"name":${encodeText(span.name)},"kind":${span.kind},${times},"attributes":${encodeAttributes(span.attributes)}${status}}`;
}

function encodeAttributes(attributes: Attributes): string {
  let encoded = "";
  for (const key in attributes) {
    const value = attributes[key];
    if (value !== undefined)
      encoded += `${encoded === "" ? "" : ","}{"key":${JSON.stringify(key)},"value":${encodeValue(value)}}`;
  }
  return `[${encoded}]`;
}

function encodeValue(value: AttributeValue): string {
  if (typeof value === "string") return `{"stringValue":${encodeText(value)}}`;
  if (typeof value === "boolean") return `{"boolValue":${value}}`;
  return typeof value === "number" ? `{"intValue":"${value}"}` : `{"doubleValue":${value.seconds}}`;
}

function encodeText(text: string): string {
  return JSON.stringify(text.slice(0, MAX_TEXT).toWellFormed());
}

/** @param ms with fractions; a number cannot hold nanoseconds since 1970, so they are put together as text */
function nanoseconds(ms: number): string {
  const whole = Math.floor(ms);
  return `${whole}${String(Math.floor((ms - whole) * 1e6)).padStart(6, "0")}`;
}
