/** A number without `seconds` is a whole one: the two have different types, and one name must keep one. */
export type AttributeValue = string | number | boolean | { seconds: number };

/** What is told of a span; `undefined` is left out. */
export type Attributes = Record<string, AttributeValue | undefined>;

export const SPAN_KIND = { internal: 1, server: 2, client: 3 } as const;

/** One part of a trace, as OTLP has it. */
export interface Span {
  traceId: string;
  spanId: string;
  /** `undefined` where a trace begins. */
  parentSpanId: string | undefined;
  /** `tracestate` as it came; empty for none. */
  state: string;
  /** Trace flags in the lowest eight bits, then whether it is known that the parent is remote, and whether it is. */
  flags: number;
  name: string;
  kind: (typeof SPAN_KIND)[keyof typeof SPAN_KIND];
  /** ms since the epoch, with fractions. */
  startedAt: number;
  endedAt: number;
  attributes: Attributes;
  failed: boolean;
}
