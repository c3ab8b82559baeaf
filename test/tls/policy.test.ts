import { describe, expect, test } from "bun:test";
import { ariDelayMs, nextTryAt, renewalTime, retryDelayMs, timerMs } from "../../src/tls/policy.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;
const START = Date.UTC(2027, 0, 1);
const NEARLY_ONE = 1 - Number.EPSILON;

const lasting = (lifetime: number) => ({ notBefore: START, notAfter: START + lifetime });

describe("renewalTime without a window of the CA", () => {
  test.each([
    ["90 days", 90 * DAY, 60 * DAY, 57.3 * DAY],
    ["64 days", 64 * DAY, (64 / 1.5) * DAY, (64 / 1.5 - 1.92) * DAY],
    ["45 days", 45 * DAY, 30 * DAY, 28.65 * DAY],
    ["6 days", 6 * DAY, 4 * DAY, 3.82 * DAY],
    ["1 hour", HOUR, 40 * MINUTE, 38.2 * MINUTE],
  ])("is at two thirds of a lifetime of %s, or up to 3 % of it earlier", (_, lifetime, latest, earliest) => {
    expect(renewalTime(lasting(lifetime), undefined, 0)).toBe(Math.round(START + latest));
    const early = renewalTime(lasting(lifetime), undefined, NEARLY_ONE) - START;
    expect(early).toBeCloseTo(earliest, -1);
  });

  test("is spread evenly over the jitter", () => {
    const times = [0, 0.25, 0.5, 0.75].map((random) => renewalTime(lasting(100 * DAY), undefined, random));
    const gaps = times.slice(1).map((time, index) => (times[index] ?? 0) - time);
    for (const gap of gaps) expect(gap).toBeCloseTo(0.75 * DAY, -1);
  });

  test("is at once for a certificate whose dates make no sense", () => {
    expect(renewalTime({ notBefore: START, notAfter: START - DAY }, undefined, 0.5)).toBe(START);
  });
});

describe("renewalTime with a window of the CA", () => {
  const facts = lasting(90 * DAY);
  const byLifetime = renewalTime(facts, undefined, 0.5);

  test("is uniform in a window that is to come", () => {
    const window = { start: START + 50 * DAY, end: START + 54 * DAY };
    expect([0, 0.5, NEARLY_ONE].map((random) => renewalTime(facts, window, random))).toEqual([
      START + 50 * DAY,
      START + 52 * DAY,
      START + 54 * DAY,
    ]);
  });

  test("is in the past, and so at once, for a window in the past", () => {
    const window = { start: START - 2 * DAY, end: START - DAY };
    for (const random of [0, 0.5, NEARLY_ONE]) {
      expect(renewalTime(facts, window, random)).toBeLessThanOrEqual(START - DAY);
    }
  });

  test.each([
    ["begins after the expiry", { start: START + 90 * DAY, end: START + 91 * DAY }],
    ["ends before it begins", { start: START + 50 * DAY, end: START + 49 * DAY }],
    ["has no length", { start: START + 50 * DAY, end: START + 50 * DAY }],
    ["has no number", { start: Number.NaN, end: START + 50 * DAY }],
    ["never ends", { start: START, end: Number.POSITIVE_INFINITY }],
  ])("goes by the lifetime if the window %s", (_, window) => {
    expect(renewalTime(facts, window, 0.5)).toBe(byLifetime);
  });

  test("leaves time for tries that fail where the window reaches past the expiry", () => {
    const window = { start: START + 80 * DAY, end: START + 200 * DAY };
    expect(renewalTime(facts, window, NEARLY_ONE)).toBe(START + 85.5 * DAY);
    const late = { start: START + 88 * DAY, end: START + 200 * DAY };
    expect(renewalTime(facts, late, NEARLY_ONE)).toBe(START + 88 * DAY);
  });
});

describe("retryDelayMs", () => {
  test("follows the table: minutes first, then hours, and six hours for ever", () => {
    const minutes = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 1_000].map((n) => retryDelayMs(n, 0.5) / MINUTE);
    expect(minutes).toEqual([1, 2, 5, 15, 30, 60, 120, 240, 360, 360, 360]);
  });

  test("varies by a fifth", () => {
    expect(retryDelayMs(6, 0)).toBe(48 * MINUTE);
    expect(retryDelayMs(6, NEARLY_ONE)).toBe(72 * MINUTE);
  });

  test("takes a count that makes no sense for the first failure", () => {
    for (const failures of [0, -1, 0.5]) expect(retryDelayMs(failures, 0.5)).toBe(MINUTE);
  });

  test("stays within the failed validations that Let's Encrypt allows: five, and one more in 12 minutes", () => {
    let allowed = 5;
    for (let failures = 1; failures < 50; failures++) {
      allowed -= 1;
      expect(allowed).toBeGreaterThanOrEqual(0);
      allowed = Math.min(5, allowed + retryDelayMs(failures, 0) / (12 * MINUTE));
    }
  });

  test("waits at least as long as the CA says, and up to a minute more", () => {
    expect(retryDelayMs(1, 0, 30 * HOUR)).toBe(30 * HOUR);
    expect(retryDelayMs(1, NEARLY_ONE, 30 * HOUR)).toBe(30 * HOUR + MINUTE);
  });

  test("keeps its own wait where the CA's is shorter, past, or no number", () => {
    for (const wait of [1_000, 0, -HOUR, Number.NaN]) expect(retryDelayMs(6, 0.5, wait)).toBe(HOUR);
  });

  test("obeys a week, which a limit can take, but not a year", () => {
    expect(retryDelayMs(1, 0, 7 * DAY)).toBe(7 * DAY);
    expect(retryDelayMs(1, 0, 365 * DAY)).toBe(8 * DAY);
    expect(retryDelayMs(1, 0, Number.POSITIVE_INFINITY)).toBe(8 * DAY);
  });
});

describe("nextTryAt", () => {
  const current = lasting(90 * DAY);
  const after = (leftMs: number, more: object = {}) => {
    const nowMs = current.notAfter - leftMs;
    return nextTryAt({ nowMs, failures: 20, random: 0.5, current, ...more }) - nowMs;
  };

  test("follows the table while there is time, and without a certificate", () => {
    expect(after(30 * DAY)).toBe(6 * HOUR);
    expect(nextTryAt({ nowMs: START, failures: 20, random: 0.5 })).toBe(START + 6 * HOUR);
  });

  test("comes closer together towards the end, but not closer than the CA gives back tries", () => {
    expect([DAY, 8 * HOUR, 2 * HOUR, HOUR, MINUTE].map((left) => after(left))).toEqual([
      3 * HOUR,
      HOUR,
      15 * MINUTE,
      12 * MINUTE,
      12 * MINUTE,
    ]);
  });

  test("tries every hour once the certificate has expired", () => {
    expect([0, -DAY, -30 * DAY].map((left) => after(left))).toEqual([HOUR, HOUR, HOUR]);
  });

  test("never shortens the table's early waits", () => {
    expect(after(2 * HOUR, { failures: 1 })).toBe(MINUTE);
  });

  test("obeys the CA's own time all the same", () => {
    const retryAtMs = current.notAfter + DAY;
    expect(after(2 * HOUR, { retryAtMs, random: 0 })).toBe(26 * HOUR);
    expect(after(2 * HOUR, { retryAtMs: START })).toBe(15 * MINUTE);
  });

  test("gives a certificate of an hour several tries before its end", () => {
    const hour = lasting(HOUR);
    let nowMs = renewalTime(hour, undefined, 0);
    let tries = 0;
    for (let failures = 1; nowMs < hour.notAfter; failures++) {
      tries++;
      nowMs = nextTryAt({ nowMs, failures, random: 0.5, current: hour });
    }
    expect(tries).toBeGreaterThanOrEqual(8);
  });
});

describe("Waits in between", () => {
  test("for renewal information are between a minute and a day, and six hours if nothing is said", () => {
    expect([0, HOUR, 40 * DAY, undefined, Number.NaN].map((wait) => ariDelayMs(wait))).toEqual([
      MINUTE,
      HOUR,
      DAY,
      6 * HOUR,
      6 * HOUR,
    ]);
  });

  test("by a timer are an hour at most, and none for what is past", () => {
    expect(timerMs(START, START + 40 * DAY)).toBe(HOUR);
    expect(timerMs(START, START + MINUTE)).toBe(MINUTE);
    expect(timerMs(START, START - DAY)).toBe(0);
  });
});
