import { describe, expect, test } from "bun:test";
import { silentLog, type Log } from "../../src/base/log.ts";
import { Retention } from "../../src/server/retention.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { turnsUntil } from "./usage/rows.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

describe("Retention", () => {
  test("removes what is too old, a page at a time, at the start and each hour", async () => {
    const clock = new ManualClock();
    const times = [...Array.from({ length: 1_200 }, () => clock.wall() - 91 * DAY), clock.wall() - 89 * DAY];
    const removePage = async (before: number) => {
      const old = times.filter((at) => at < before).length;
      times.splice(0, Math.min(old, 500));
      return { removed: Math.min(old, 500), more: old > 500 };
    };
    const told: unknown[] = [];
    const log: Log = { ...silentLog, info: (message, fields) => void told.push([message, fields]) };
    const retention = new Retention({ what: "usage", removePage, keepMs: 90 * DAY, clock, log });
    const sizes: number[] = [];
    for (let page = 0; page < 3; page++) {
      const before = times.length;
      clock.advance(50);
      await turnsUntil(() => times.length < before && clock.pending.length === 1);
      sizes.push(times.length);
    }
    expect([sizes, clock.pending]).toEqual([[701, 201, 1], [HOUR]]);
    expect(told).toEqual([["Removed old usage", { requests: 1_200 }]]);
    clock.advance(DAY);
    await turnsUntil(() => clock.pending.length === 1);
    expect(times).toHaveLength(1);
    clock.advance(HOUR);
    await turnsUntil(() => times.length === 0 && clock.pending.length === 1);
    retention.stop();
    expect(clock.pending).toEqual([]);
  });

  test("tries again after an hour if the database fails, and ends when it is stopped", async () => {
    const clock = new ManualClock();
    let asked = 0;
    const removePage = async (): Promise<never> => {
      asked++;
      throw new Error("it is gone");
    };
    const retention = new Retention({ what: "usage", removePage, keepMs: DAY, clock, log: silentLog });
    clock.advance(0);
    await turnsUntil(() => clock.pending.length === 1);
    clock.advance(HOUR);
    await turnsUntil(() => asked === 2 && clock.pending.length === 1);
    retention.stop();
    expect(clock.pending).toEqual([]);
  });
});
