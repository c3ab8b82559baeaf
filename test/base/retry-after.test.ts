import { describe, expect, test } from "bun:test";
import { parseRetryAfter } from "../../src/base/retry-after.ts";

const NOW = Date.UTC(2026, 11, 1, 12);

describe("Retry-After", () => {
  test("is seconds or a date, at most eight days, and nothing else", () => {
    const date = (ms: number) => new Date(NOW + ms).toUTCString();
    const read = [
      "0",
      " 120 ",
      "9999999999",
      date(5_000),
      date(-5_000),
      date(1e12),
      "-1",
      "1.5",
      "1e3",
      "tomorrow",
      "",
      null,
    ];
    const longest = 8 * 86_400_000;
    expect(read.map((text) => parseRetryAfter(text, NOW))).toEqual([
      0,
      120_000,
      longest,
      5_000,
      undefined,
      longest,
      ...Array.from({ length: 6 }, () => undefined),
    ]);
  });
});
