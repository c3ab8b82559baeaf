import { describe, expect, test } from "bun:test";
import { Rate, type Taking } from "../../../src/server/limits/rate.ts";
import { forSeeds, Random } from "../../fuzz/random.ts";

/** In [0, 1). */
const fraction = (random: Random) => random.next() / 2 ** 32;

describe("Rate", () => {
  test("lets a minute's worth go at once, and then as much as time brings", () => {
    const rate = new Rate(60);
    for (let taken = 0; taken < 60; taken++) {
      expect(rate.waitFor(1, 0)).toBe(0);
      rate.take(1, 0);
    }
    expect([rate.left(0), rate.waitFor(1, 0), rate.debt(0)]).toEqual([0, 1_000, 60_000]);
    expect([rate.left(999), rate.left(1_000), rate.left(2_500)]).toEqual([0, 1, 2]);
    expect(rate.left(90_000)).toBe(60);
  });

  const WAITS: [perMinute: number, taken: number, needed: number, atMs: number, waitMs: number][] = [
    [60, 0, 60, 0, 0],
    [60, 0, 61, 0, Number.POSITIVE_INFINITY],
    [60, 60, 1, 250, 750],
    [60, 60, 10, 250, 9_750],
    [1, 1, 1, 59_999, 1],
    [1, 1, 1, 60_000, 0],
    [60_000, 59_000, 1_500, 0, 500],
    [1_000_000, 1_000_000, 1, 0, 1],
    [0, 0, 1, 0, Number.POSITIVE_INFINITY],
  ];
  test.each(WAITS)(
    "of %p per minute with %p taken gives %p more, asked at %p ms, after %p ms",
    (perMinute, taken, needed, atMs, waitMs) => {
      const rate = new Rate(perMinute);
      if (taken > 0) rate.take(taken, 0);
      expect(rate.waitFor(needed, atMs)).toBe(waitMs);
    },
  );

  test("is worth waiting for exactly so long: a millisecond less is too short", () => {
    const rate = new Rate(7);
    for (let taken = 0; taken < 7; taken++) rate.take(1, 1_234.5);
    const waitMs = rate.waitFor(3, 1_234.5);
    expect(rate.waitFor(3, 1_234.5 + waitMs)).toBe(0);
    expect(rate.waitFor(3, 1_234.5 + waitMs - 1)).toBeGreaterThan(0);
  });

  test("goes into debt when more is taken than is there, and needs the time for it", () => {
    const rate = new Rate(60);
    rate.take(90, 0);
    expect([rate.left(0), rate.debt(0), rate.waitFor(1, 0)]).toEqual([0, 90_000, 31_000]);
  });

  test("keeps the part that is used when it is made larger or smaller", () => {
    const rate = new Rate(60);
    rate.take(30, 0);
    rate.perMinute = 600;
    expect(rate.left(0)).toBe(300);
    rate.perMinute = 6;
    expect(rate.left(0)).toBe(3);
  });

  test("gives back what was taken for nothing", () => {
    const rate = new Rate(60);
    const taking = rate.take(40, 0);
    rate.giveBack(taking, 0.75);
    expect(rate.left(0)).toBe(50);
  });

  test("gives nothing back that time has given back already", () => {
    const rate = new Rate(1_000);
    const slow = rate.take(1_000, 0);
    rate.take(1_000, 600_000);
    rate.giveBack(slow, 1);
    expect(rate.left(600_000)).toBe(0);
  });

  test("gives back in the middle of others what they would have found if it had not been taken", () => {
    const rate = new Rate(60);
    const first = rate.take(30, 0);
    // 10 s are left of its 30 when the next comes, so only those can come back.
    rate.take(10, 20_000);
    rate.giveBack(first, 1);
    expect(rate.debt(20_000)).toBe(10_000);
  });

  test("is always as if nothing but what was kept had been taken", () => {
    forSeeds(200, (random) => {
      const rate = new Rate(1_000);
      let now = fraction(random) * 1_000;
      const open: { taking: Taking; index: number }[] = [];
      const history: { at: number; ms: number }[] = [];
      for (let step = 0; step < 120; step++) {
        now += fraction(random) < 0.5 ? 0 : fraction(random) ** 3 * 30_000;
        if (fraction(random) < 0.55 && open.length < 30) {
          const amount = Math.ceil(fraction(random) ** 2 * 400);
          open.push({ taking: rate.take(amount, now), index: history.length });
          history.push({ at: now, ms: amount * 60 });
        } else if (open.length > 0) {
          const [ended] = open.splice(Math.floor(fraction(random) * open.length), 1);
          const part = fraction(random) < 0.3 ? 1 : fraction(random);
          rate.giveBack(ended!.taking, part);
          history[ended!.index]!.ms *= 1 - part;
        }
        let fullAt = 0;
        for (const { at, ms } of history) fullAt = Math.max(fullAt, at) + ms;
        expect(rate.debt(now)).toBeCloseTo(Math.max(0, fullAt - now), 4);
      }
    });
  });

  test("never gives back too much when more takings are open than it remembers", () => {
    const random = new Random(7);
    const rate = new Rate(1_000_000);
    let now = 0;
    const open: { taking: Taking; index: number }[] = [];
    const history: { at: number; ms: number }[] = [];
    for (let step = 0; step < 2_000; step++) {
      now += fraction(random) * 10;
      const amount = fraction(random) * 1_000;
      open.push({ taking: rate.take(amount, now), index: history.length });
      history.push({ at: now, ms: amount * 0.06 });
      if (fraction(random) < 0.4) {
        const [ended] = open.splice(Math.floor(fraction(random) * open.length), 1);
        rate.giveBack(ended!.taking, 1);
        history[ended!.index]!.ms = 0;
      }
    }
    let fullAt = 0;
    for (const { at, ms } of history) fullAt = Math.max(fullAt, at) + ms;
    expect(rate.debt(now)).toBeGreaterThanOrEqual(Math.max(0, fullAt - now) - 1e-4);
  });
});
