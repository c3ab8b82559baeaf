import { expect, test } from "bun:test";
import { encodeSpans } from "../../../src/server/trace/otlp-json.ts";
import { SPAN_KIND, type Span } from "../../../src/server/trace/span.ts";

const SPAN: Span = {
  traceId: "4bf92f3577b34da6a3ce929d0e0e4736",
  spanId: "00f067aa0ba902b7",
  parentSpanId: undefined,
  state: "",
  flags: 0x101,
  name: "name",
  kind: SPAN_KIND.server,
  startedAt: 1_800_000_000_000.0625,
  endedAt: 1_800_000_000_001,
  attributes: {},
  failed: false,
};

/** What the text says of one span. */
function encoded(span: Partial<Span>): Record<string, unknown> | undefined {
  const { resourceSpans } = JSON.parse(encodeSpans({}, [{ ...SPAN, ...span }])) as {
    resourceSpans: { scopeSpans: { spans: Record<string, unknown>[] }[] }[];
  };
  return resourceSpans[0]?.scopeSpans[0]?.spans[0];
}

test("A span is written with what it has, and with times in whole nanoseconds", () => {
  const bare = {
    traceId: SPAN.traceId,
    spanId: SPAN.spanId,
    flags: 0x101,
    name: "name",
    kind: 2,
    startTimeUnixNano: "1800000000000062500",
    endTimeUnixNano: "1800000000001000000",
    attributes: [],
  };
  expect(encoded({})).toEqual(bare);
  expect(encoded({ parentSpanId: "b7ad6b7169203331", state: 'a="b"', failed: true })).toEqual({
    ...bare,
    parentSpanId: "b7ad6b7169203331",
    traceState: 'a="b"',
    status: { code: 2 },
  });
});

test("Text of any kind is cut, escaped, and made whole where it was cut in a character", () => {
  const text = `"\\\u0000\n${"😀".repeat(600)}`;
  const attributes = { [text]: text, lone: "\ud800", no: false, int: 5, real: { seconds: 1 } };
  const long = `"\\\u0000\n${"😀".repeat(510)}`;
  expect(encoded({ attributes, name: text })).toMatchObject({
    name: long,
    attributes: [
      { key: text, value: { stringValue: long } },
      { key: "lone", value: { stringValue: "\ufffd" } },
      { key: "no", value: { boolValue: false } },
      { key: "int", value: { intValue: "5" } },
      { key: "real", value: { doubleValue: 1 } },
    ],
  });
  expect(encoded({ name: `x${"😀".repeat(600)}` })?.["name"]).toBe(`x${"😀".repeat(511)}\ufffd`);
});
