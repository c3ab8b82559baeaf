import { describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import { StoreError } from "../../../src/server/store/store-error.ts";
import { HealthKeeper, type StoreHealth } from "../../../src/server/store/store-health.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const gone = new StoreError("store_unavailable", "It is gone", { action: "Wait" });
const full = new StoreError("store_full", "It is full");

function rig() {
  const clock = new ManualClock();
  const lines: string[] = [];
  const changes: StoreHealth[] = [];
  let outcome = Promise.withResolvers<void>();
  let probes = 0;
  const keeper = new HealthKeeper({
    clock,
    log: {
      ...silentLog,
      warn: (message) => void lines.push(message),
      info: (message) => void lines.push(message),
    },
    probe() {
      probes++;
      return outcome.promise;
    },
    changed: (health) => void changes.push(health),
  });
  return {
    clock,
    keeper,
    lines,
    changes,
    probes: () => probes,
    /** Ends the probe that runs. */
    settle: async (trouble?: StoreError): Promise<void> => {
      const { promise, resolve, reject } = outcome;
      outcome = Promise.withResolvers();
      if (trouble === undefined) resolve();
      else reject(trouble);
      await Promise.allSettled([promise]);
    },
  };
}

describe("The health of a store", () => {
  test("is good at first, and bad from the first failure on, said once", () => {
    const { clock, keeper, lines, changes } = rig();
    const opened = clock.wall();
    expect(keeper.current).toEqual({ ok: true, since: opened, reason: "", code: undefined });
    clock.advance(1_000);
    keeper.onFailure(gone);
    clock.advance(10);
    keeper.onFailure(gone);
    expect(keeper.current).toEqual({
      ok: false,
      since: opened + 1_000,
      reason: "It is gone",
      code: "store_unavailable",
    });
    expect([lines, changes.length]).toEqual([
      ["It is gone; relaying goes on, keys that are known hold for a while, and usage waits in a file"],
      1,
    ]);
  });

  test("tells the newest reason, and keeps the time of the first", () => {
    const { clock, keeper } = rig();
    keeper.onFailure(gone);
    const { since } = keeper.current;
    clock.advance(10);
    keeper.onFailure(full);
    expect(keeper.current).toMatchObject({ since, code: "store_full", reason: "It is full" });
  });

  test("is not changed by the mistake of one call", () => {
    const { keeper, clock } = rig();
    for (const code of ["store_conflict", "store_unsupported", "store_missing", "store_closed"] as const) {
      keeper.onFailure(new StoreError(code, "A mistake"));
    }
    expect([keeper.current.ok, clock.pending]).toEqual([true, []]);
  });

  test("is good again once something could be written, which is tried until then", async () => {
    const { clock, keeper, lines, probes, settle } = rig();
    keeper.onFailure(gone);
    for (const tries of [1, 2, 3]) {
      clock.advance(500);
      expect(probes()).toBe(tries);
      await settle(gone);
      expect(keeper.current.ok).toBe(false);
    }
    clock.advance(500);
    await settle();
    expect(keeper.current).toEqual({ ok: true, since: clock.wall(), reason: "", code: undefined });
    expect([lines.at(-1), clock.pending]).toEqual(["The database serves again", []]);
  });

  test("stays bad when a call fails while it is tried", async () => {
    const { clock, keeper, settle } = rig();
    keeper.onFailure(full);
    clock.advance(500);
    keeper.onFailure(full);
    await settle();
    expect([keeper.current.ok, clock.pending]).toEqual([false, [500]]);
    clock.advance(500);
    await settle();
    expect(keeper.current.ok).toBe(true);
  });

  test("is not looked after once it is closed", () => {
    const { clock, keeper } = rig();
    keeper.onFailure(gone);
    keeper.close();
    keeper.onFailure(gone);
    expect(clock.pending).toEqual([]);
  });
});
