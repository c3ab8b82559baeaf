import { describe, expect, test } from "bun:test";
import type { Limits } from "../../../src/server/client.ts";
import type { LimitRefusal, Moment, Need, Subject } from "../../../src/server/limits/account.ts";
import { Limiter, Reservation } from "../../../src/server/limits/limiter.ts";

const DAY = 86_400_000;
/** 2026-11-21, noon UTC. */
const NOON = Date.UTC(2026, 10, 21, 12);
const at = (ms: number): Moment => ({ now: 5_000 + ms, wall: NOON + ms });
const sure = (tokens: number): Need => ({ sure: tokens, guess: 0 });
const NONE = sure(0);

const key = (limits: Limits, id = "k"): Subject => ({ kind: "key", id, limits });
const address = (id: string, limits: Limits): Subject => ({ kind: "address", id, limits });
const relay = (limits: Limits): Subject => ({ kind: "relay", id: "", limits });

function letIn(limiter: Limiter, subjects: Subject[], need = NONE, moment = at(0)): Reservation {
  const reserved = limiter.reserve(subjects, need, moment);
  if (reserved instanceof Reservation) return reserved;
  throw new Error(`Refused: ${JSON.stringify(reserved)}`);
}

function refusalOf(limiter: Limiter, subjects: Subject[], need = NONE, moment = at(0)): LimitRefusal {
  const reserved = limiter.reserve(subjects, need, moment);
  if (!(reserved instanceof Reservation)) return reserved;
  throw new Error("It was let in");
}

describe("Limiter", () => {
  test("lets as many requests run at once as it may, and the next when one has ended", () => {
    const limiter = new Limiter();
    const two = [key({ concurrency: 2 })];
    const first = letIn(limiter, two);
    letIn(limiter, two);
    expect(refusalOf(limiter, two)).toEqual({
      kind: "key",
      limit: "concurrency",
      allowed: 2,
      left: 0,
      needed: 1,
      waitMs: 1_000,
    });
    limiter.settle(first, 0, at(0));
    limiter.settle(first, 0, at(0));
    letIn(limiter, two);
    expect(refusalOf(limiter, two).limit).toBe("concurrency");
  });

  test("takes from every subject or from none", () => {
    const limiter = new Limiter();
    const roomy = key({ requestsPerMinute: 10, tokensPerMinute: 1_000, concurrency: 5 });
    const narrow = relay({ requestsPerMinute: 1 });
    const open = letIn(limiter, [roomy, narrow], sure(100));
    const before = limiter.standing([roomy], at(0));
    expect(refusalOf(limiter, [roomy, narrow], sure(100))).toMatchObject({
      kind: "relay",
      limit: "requests",
      waitMs: 60_000,
    });
    expect(limiter.standing([roomy], at(0))).toEqual(before);
    limiter.settle(open, 0, at(0));
    for (let more = 0; more < 5; more++) letIn(limiter, [roomy], sure(100));
    expect(refusalOf(limiter, [roomy]).limit).toBe("concurrency");
  });

  test("names the limit that holds longest", () => {
    const limiter = new Limiter();
    const both = [key({ requestsPerMinute: 60 }), relay({ requestsPerMinute: 6 })];
    for (let sent = 0; sent < 6; sent++) letIn(limiter, both);
    expect(refusalOf(limiter, both)).toMatchObject({ kind: "relay", waitMs: 10_000 });
  });

  test("counts what a request really took, more than was set aside or less", () => {
    const limiter = new Limiter();
    const mine = [key({ tokensPerMinute: 1_000 })];
    const remaining = () => limiter.standing(mine, at(0)).tokens?.remaining;
    const little = letIn(limiter, mine, sure(400));
    expect(remaining()).toBe(600);
    limiter.settle(little, 150, at(0));
    expect(remaining()).toBe(850);
    const much = letIn(limiter, mine, sure(100));
    limiter.settle(much, 1_350, at(0));
    expect(remaining()).toBe(0);
    // 1,500 of 1,000 are used: 500 to wear off, and room for one.
    expect(refusalOf(limiter, mine, sure(1)).waitMs).toBe(30_060);
  });

  test("corrects what is set aside once the request has been read", () => {
    const limiter = new Limiter();
    const mine = [key({ tokensPerMinute: 1_000, concurrency: 1, requestsPerMinute: 5 })];
    const open = letIn(limiter, mine, sure(1));
    expect(limiter.adjust(open, sure(700), at(0))).toBeUndefined();
    expect(limiter.standing(mine, at(0)).tokens?.remaining).toBe(300);
    limiter.settle(open, 700, at(0));
    const over = letIn(limiter, mine, sure(1));
    expect(limiter.adjust(over, sure(301), at(0))).toMatchObject({ limit: "tokens", left: 300, needed: 301 });
    expect(limiter.standing(mine, at(0))).toMatchObject({
      tokens: { remaining: 300 },
      requests: { remaining: 4 },
    });
    // What was refused does not run any more, and ending it again changes nothing.
    limiter.settle(over, 900, at(0));
    expect(limiter.standing(mine, at(0)).tokens?.remaining).toBe(300);
    letIn(limiter, mine);
  });

  test("takes a guess for no more than the limit, and what is sure for what it is", () => {
    const limiter = new Limiter();
    const mine = [key({ tokensPerMinute: 300 })];
    letIn(limiter, mine, { sure: 50, guess: 1_000 });
    expect(limiter.standing(mine, at(0)).tokens?.remaining).toBe(0);
    expect(refusalOf(limiter, [key({ tokensPerMinute: 300 }, "other")], sure(301)).waitMs).toBe(
      Number.POSITIVE_INFINITY,
    );
  });

  test("lets through what takes no tokens although none are left", () => {
    const limiter = new Limiter();
    const mine = [key({ tokensPerMinute: 100, budget: { tokens: 150, period: "day" } })];
    limiter.settle(letIn(limiter, mine, sure(100)), 200, at(0));
    expect(refusalOf(limiter, mine, sure(1)).limit).toBe("budget");
    letIn(limiter, mine, NONE);
  });

  const PERIODS: [period: "day" | "month", wall: number, waitMs: number][] = [
    ["day", NOON, DAY / 2],
    ["day", Date.UTC(2026, 11, 31, 23, 59, 59, 999), 1],
    ["month", NOON, 9.5 * DAY],
    ["month", Date.UTC(2028, 1, 29), DAY],
    ["month", Date.UTC(2026, 11, 31), DAY],
  ];
  test.each(PERIODS)("renews a budget per %p, used up at %p, after %p ms", (period, wall, waitMs) => {
    const limiter = new Limiter();
    const mine = [key({ budget: { tokens: 100, period } })];
    limiter.settle(letIn(limiter, mine, sure(10), { now: 0, wall }), 100, { now: 0, wall });
    expect(refusalOf(limiter, mine, sure(1), { now: 0, wall })).toEqual({
      kind: "key",
      limit: "budget",
      allowed: 100,
      left: 0,
      needed: 1,
      waitMs,
      period,
    });
    expect(refusalOf(limiter, mine, sure(1), { now: 0, wall: wall + waitMs - 1 }).waitMs).toBe(1);
    letIn(limiter, mine, sure(100), { now: 0, wall: wall + waitMs });
  });

  test("sets a budget aside for what runs, so that requests at once cannot use it twice", () => {
    const limiter = new Limiter();
    const mine = [key({ budget: { tokens: 1_000, period: "day" } })];
    const open = letIn(limiter, mine, { sure: 100, guess: 1_000 });
    expect(refusalOf(limiter, mine, sure(1))).toMatchObject({ limit: "budget", left: 0 });
    limiter.settle(open, 300, at(0));
    expect(limiter.standing(mine, at(0)).tokens).toEqual({ limit: 1_000, remaining: 700, resetMs: DAY / 2 });
  });

  test("charges a request to the period in which it came", () => {
    const limiter = new Limiter();
    const mine = [key({ budget: { tokens: 1_000, period: "day" } })];
    const open = letIn(limiter, mine, sure(100), { now: 0, wall: NOON });
    const tomorrow = { now: 0, wall: NOON + DAY };
    letIn(limiter, mine, sure(1), tomorrow);
    limiter.settle(open, 400, tomorrow);
    expect(limiter.standing(mine, tomorrow).tokens?.remaining).toBe(999);
    expect(limiter.standing(mine, { now: 0, wall: NOON }).tokens?.remaining).toBe(600);
  });

  test("finds a period again when the clock is set back over midnight", () => {
    const limiter = new Limiter();
    const mine = [key({ budget: { tokens: 100, period: "day" } })];
    const late = { now: 0, wall: Date.UTC(2026, 10, 21, 23, 59) };
    const early = { now: 0, wall: Date.UTC(2026, 10, 22, 0, 1) };
    limiter.settle(letIn(limiter, mine, sure(1), late), 100, late);
    limiter.settle(letIn(limiter, mine, sure(1), early), 60, early);
    expect(refusalOf(limiter, mine, sure(1), late).left).toBe(0);
    expect(limiter.standing(mine, early).tokens?.remaining).toBe(40);
  });

  test("learns what was used of a budget, before or after it is first asked for, as often as one likes", () => {
    const limiter = new Limiter();
    const today = Date.UTC(2026, 10, 21);
    const early = [key({ budget: { tokens: 100, period: "day" } }, "early")];
    const late = [key({ budget: { tokens: 100, period: "day" } }, "late")];
    limiter.settle(letIn(limiter, early, sure(1)), 10, at(0));
    const used = new Map([
      ["early", 70],
      ["late", 30],
    ]);
    limiter.learn("day", today, used);
    limiter.learn("day", today, used);
    limiter.learn("month", Date.UTC(2026, 10), new Map([["early", 1_000]]));
    limiter.learn("day", today - DAY, new Map([["early", 2_000]]));
    limiter.learn("day", today, used);
    expect(limiter.standing(early, at(0)).tokens?.remaining).toBe(30);
    expect(limiter.standing(late, at(0)).tokens?.remaining).toBe(70);
  });

  test("asks for what was used whenever somebody gets a budget", () => {
    let asked = 0;
    const limiter = new Limiter(() => asked++);
    letIn(limiter, [key({ budget: { tokens: 5, period: "day" } })]);
    letIn(limiter, [key({ budget: { tokens: 6, period: "day" } })]);
    expect(asked).toBe(1);
    letIn(limiter, [key({ budget: { tokens: 6, period: "month" } })]);
    expect(asked).toBe(2);
  });

  test("takes up other limits at once, and forgets nothing of what was used", () => {
    const limiter = new Limiter();
    const open = letIn(limiter, [key({ tokensPerMinute: 100, concurrency: 1 })], sure(50));
    const wider = [key({ tokensPerMinute: 1_000, requestsPerMinute: 10, concurrency: 2 })];
    letIn(limiter, wider);
    expect(limiter.standing(wider, at(0))).toMatchObject({
      requests: { limit: 10, remaining: 9 },
      tokens: { limit: 1_000, remaining: 500 },
    });
    limiter.settle(open, 50, at(0));
    const free = [key({})];
    letIn(limiter, free);
    expect(limiter.standing(free, at(0))).toEqual({ requests: undefined, tokens: undefined });
  });

  test("goes by the limits that came last, while requests are answered that came under others", () => {
    let asked = 0;
    const limiter = new Limiter(() => asked++);
    const former = [key({ budget: { tokens: 500, period: "day" } })];
    const now = [key({ budget: { tokens: 900, period: "month" } })];
    letIn(limiter, former);
    limiter.settle(letIn(limiter, now, sure(100)), 100, at(0));
    expect(limiter.standing(former, at(0)).tokens).toMatchObject({ limit: 900, remaining: 800 });
    expect(limiter.standing(now, at(0)).tokens).toMatchObject({ limit: 900, remaining: 800 });
    expect(asked).toBe(2);
  });

  test("shows of several limits of a kind the one of which least is left", () => {
    const limiter = new Limiter();
    const mine = key({ requestsPerMinute: 100, tokensPerMinute: 1_000 });
    const all = relay({ requestsPerMinute: 10, tokensPerMinute: 100_000 });
    letIn(limiter, [mine, all], sure(500));
    expect(limiter.standing([mine, all], at(0))).toEqual({
      requests: { limit: 10, remaining: 9, resetMs: 6_000 },
      tokens: { limit: 1_000, remaining: 500, resetMs: 30_000 },
    });
  });

  test("keeps no account of whom it need not remember", () => {
    const limiter = new Limiter();
    const limits = { requestsPerMinute: 60, concurrency: 1 };
    const open = letIn(limiter, [address("running", limits)]);
    for (let second = 0; second < 10_000; second++)
      limiter.settle(letIn(limiter, [address(`${second}`, limits)], NONE, at(second * 1_000)), 0, at(0));
    expect(limiter.size).toBeLessThan(5);
    expect(refusalOf(limiter, [address("running", limits)], NONE, at(10_000_000)).limit).toBe("concurrency");
    limiter.settle(open, 0, at(0));
  });

  test("remembers what was used of a budget until the period is over", () => {
    const limiter = new Limiter();
    const mine = [key({ budget: { tokens: 100, period: "day" } })];
    const others = (moment: Moment) => {
      for (let sent = 0; sent < 10; sent++) {
        const other = key({ requestsPerMinute: 600 }, `${moment.wall} ${sent}`);
        limiter.settle(letIn(limiter, [other], NONE, moment), 0, moment);
      }
    };
    limiter.settle(letIn(limiter, mine), 100, at(0));
    others(at(3_600_000));
    expect(refusalOf(limiter, mine, sure(1), at(3_600_000)).limit).toBe("budget");
    const kept = limiter.size;
    others(at(DAY));
    others(at(2 * DAY));
    expect(limiter.size).toBeLessThan(kept + 10);
    letIn(limiter, mine, sure(100), at(2 * DAY));
  });

  test("has a bound for a flood of addresses, and lets none of those out that run", () => {
    const limiter = new Limiter(() => {}, 100);
    const limits = { requestsPerMinute: 1, concurrency: 1 };
    for (let sent = 0; sent < 50; sent++) letIn(limiter, [address(`runs ${sent}`, limits)]);
    for (let sent = 0; sent < 1_000; sent++)
      limiter.settle(letIn(limiter, [address(`came ${sent}`, limits)]), 0, at(0));
    expect(limiter.size).toBe(100);
    for (let sent = 0; sent < 50; sent++)
      expect(refusalOf(limiter, [address(`runs ${sent}`, limits)], NONE, at(60_000)).limit).toBe(
        "concurrency",
      );
  });

  test("lets addresses for which there is no room share one account", () => {
    const limiter = new Limiter(() => {}, 10);
    const limits = { concurrency: 1 };
    for (let sent = 0; sent < 10; sent++) letIn(limiter, [address(`${sent}`, limits)]);
    const shared = letIn(limiter, [address("one more", limits)]);
    expect(refusalOf(limiter, [address("and another", limits)]).limit).toBe("concurrency");
    limiter.settle(shared, 0, at(0));
    limiter.settle(letIn(limiter, [address("and another", limits)]), 0, at(0));
    expect(limiter.size).toBe(10);
    // Keys are the operator's, and always have room.
    letIn(limiter, [key(limits)]);
    expect(limiter.size).toBe(11);
  });
});
