import { describe, expect, test } from "bun:test";
import type { LimitRefusal } from "../../../src/server/limits/account.ts";
import { formatReset } from "../../../src/server/limits/headers.ts";
import { limitError } from "../../../src/server/limits/refusal.ts";

describe("What a client is told", () => {
  const RESETS: [ms: number, text: string][] = [
    [0, "0s"],
    [0.0000001, "0s"],
    [0.2, "1ms"],
    [20, "20ms"],
    [999.5, "1s"],
    [1_000, "1s"],
    [8_640, "8.64s"],
    [59_999, "59.999s"],
    [60_000.0000001, "1m0s"],
    [360_000, "6m0s"],
    [61_500, "1m1.5s"],
    [3_600_000, "1h0m0s"],
    [90_061_001, "25h1m1.001s"],
  ];
  test.each(RESETS)("%p ms until a limit is whole again are written %p", (ms, text) => {
    expect(formatReset(ms)).toBe(text);
  });

  const base: LimitRefusal = {
    kind: "key",
    limit: "tokens",
    allowed: 1_000,
    left: 10,
    needed: 50,
    waitMs: 2_400,
  };
  const NEVER = Number.POSITIVE_INFINITY;
  const MESSAGES: [refusal: LimitRefusal, message: string][] = [
    [
      base,
      "This API key may use 1000 tokens per minute, of which 10 are left, and this request needs up to 50: try again in 2.4 s",
    ],
    [
      { ...base, needed: 2_000, waitMs: NEVER },
      "This API key may use 1000 tokens per minute, and this request needs up to 2000: shorten the prompt, or lower the most tokens that the answer may have",
    ],
    [
      { ...base, kind: "address", limit: "requests", allowed: 1, waitMs: 850 },
      "This address may send 1 request per minute, and has sent as many: try again in 850 ms",
    ],
    [{ ...base, limit: "requests", allowed: 0, waitMs: NEVER }, "This API key may send no requests"],
    [
      { ...base, kind: "relay", limit: "concurrency", allowed: 8, waitMs: 1_000 },
      "This relay may run 8 requests at once, and as many are running: try again in 1 s, or when one has ended",
    ],
    [
      { ...base, limit: "budget", period: "month", left: 0, waitMs: 7_200_000 },
      "This API key has a budget of 1000 tokens per month, which is used up: it is renewed in 2 h",
    ],
    [
      { ...base, limit: "budget", period: "day", waitMs: 600_000 },
      "This API key has a budget of 1000 tokens per day, of which 10 are left, and this request needs up to 50: it is renewed in 10 min",
    ],
    [
      { ...base, limit: "budget", period: "day", needed: 5_000, waitMs: NEVER },
      "This API key has a budget of 1000 tokens per day, and this request needs up to 5000: shorten the prompt, or lower the most tokens that the answer may have",
    ],
  ];
  test.each(MESSAGES)("%j is refused with words", (refusal, message) => {
    expect(limitError(refusal)).toMatchObject({ status: 429, code: "rate_limit_exceeded", message });
  });

  test("no time to wait is named where waiting does not help", () => {
    expect(limitError({ ...base, waitMs: NEVER })).not.toHaveProperty("retryAfterMs");
    expect(limitError({ ...base, waitMs: NEVER }).noRetry).toBe(true);
    expect(limitError(base)).toMatchObject({ retryAfterMs: 2_400 });
    expect(limitError(base)).not.toHaveProperty("noRetry");
  });
});
