import { describe, expect, test } from "bun:test";
import { formatTraceParent, parseTraceParent } from "../../../src/server/trace/trace-context.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

describe("traceparent", () => {
  // The first two are the specification's own examples (§3.2.4), the others its rules.
  test.each([
    [`00-${TRACE}-${SPAN}-01`, 1],
    [`00-${TRACE}-${SPAN}-00`, 0],
    [`00-${TRACE}-${SPAN}-03`, 3],
    // Flags without a meaning are not passed on.
    [`00-${TRACE}-${SPAN}-ff`, 3],
    [`00-${TRACE}-${SPAN}-08`, 0],
    // A later version begins as this one does and may go on.
    [`cc-${TRACE}-${SPAN}-01`, 1],
    [`01-${TRACE}-${SPAN}-01-what-the-future-will-be-like`, 1],
    [`fe-${TRACE}-${SPAN}-01-`, 1],
  ])("takes %s", (value, flags) => {
    expect(parseTraceParent(value)).toEqual({ traceId: TRACE, spanId: SPAN, flags });
  });

  test.each([
    [null],
    [""],
    ["-"],
    ["---"],
    ["00"],
    [`00-${TRACE}-${SPAN}`],
    [`00-${TRACE}-${SPAN}-`],
    [`00-${TRACE}-${SPAN}-1`],
    [`00-${TRACE}-${SPAN}-011`],
    [`00-${TRACE}-${SPAN}-01-`],
    [`00-${TRACE}-${SPAN}-01-more`],
    [`00-${TRACE}-${SPAN}-01.more`],
    [`cc-${TRACE}-${SPAN}-01.more`],
    [`cc-${TRACE}-${SPAN}-01more`],
    [`ff-${TRACE}-${SPAN}-01`],
    [`ff-${TRACE}-${SPAN}-01-more`],
    [`0-${TRACE}-${SPAN}-01`],
    [`000-${TRACE}-${SPAN}-01`],
    [`0x-${TRACE}-${SPAN}-01`],
    [`00-${"0".repeat(32)}-${SPAN}-01`],
    [`00-${TRACE}-${"0".repeat(16)}-01`],
    [`00-${TRACE.slice(1)}-${SPAN}-01`],
    [`00-${TRACE}0-${SPAN}-01`],
    [`00-${TRACE}-${SPAN.slice(1)}-01`],
    [`00-${TRACE}-${SPAN}0-01`],
    [`00-${TRACE.toUpperCase()}-${SPAN}-01`],
    [`00-${TRACE}-${SPAN.toUpperCase()}-01`],
    [`00-${TRACE}-${SPAN}-0A`],
    [`00-${TRACE.slice(0, -1)}g-${SPAN}-01`],
    [`00_${TRACE}_${SPAN}_01`],
    // Two fields of one name, as a runtime joins them.
    [`00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
    [` 00-${TRACE}-${SPAN}-01`],
    [`00-${TRACE}-${SPAN}-01\n`],
    [`00-${TRACE}-${SPAN}-01-\n`],
    [`00-${TRACE}-${SPAN}-01\u0000`],
    ["٠٠-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
  ])("refuses %j", (value) => {
    expect(parseTraceParent(value)).toBeUndefined();
  });

  test("refuses a value of any length without looking at it for long", () => {
    for (const value of ["a", "-", "00-", TRACE].map((part) => part.repeat(100_000)))
      expect(parseTraceParent(value)).toBeUndefined();
  });

  test("is written with every digit", () => {
    for (const flags of [0, 1, 3]) {
      const value = `00-${TRACE}-${SPAN}-0${flags}`;
      expect(formatTraceParent({ traceId: TRACE, spanId: SPAN, flags })).toBe(value);
    }
  });
});
