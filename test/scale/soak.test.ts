import { describe, expect, test } from "bun:test";
import { heapStats } from "bun:jsc";
import type { Clock } from "../../src/base/clock.ts";
import { systemClock } from "../../src/base/clock.ts";
import type { PlainRelay } from "../../src/server/index.ts";
import { startRig } from "../faults/rig.ts";
import { holdingsOf } from "./fleet.ts";
import { startPacedBackend } from "./paced-backend.ts";
import { runSoak } from "./soak.ts";
import { runTraffic } from "./traffic.ts";

const MIB = 1024 * 1024;
/** Connections that are kept for the next request come and go. */
const KEPT_ALIVE = 16;

/** A clock that knows how many of its timers are set. */
class CountingClock implements Clock {
  set = 0;

  now(): number {
    return systemClock.now();
  }

  wall(): number {
    return systemClock.wall();
  }

  after(delayMs: number, fire: () => void): { cancel(): void } {
    let waits = true;
    this.set++;
    const done = (): void => {
      if (waits) this.set--;
      waits = false;
    };
    const timer = systemClock.after(delayMs, () => {
      done();
      fire();
    });
    return {
      cancel() {
        done();
        timer.cancel();
      },
    };
  }
}

/** Objects of the kinds that a leak of requests, sessions, streams or connections would leave behind. */
function objects(): Record<string, number> {
  Bun.gc(true);
  const { objectTypeCounts: counts } = heapStats();
  const kinds = [
    "Map",
    "Set",
    "Promise",
    "AbortController",
    "AbortSignal",
    "ReadableStream",
    "Response",
    "Request",
    "WebSocket",
    "ServerWebSocket",
    "Timeout",
    "Uint8Array",
    "Function",
  ];
  return Object.fromEntries(kinds.map((kind) => [kind, counts[kind] ?? 0]));
}

describe("After mixed traffic with cuts", () => {
  // Six seconds of what runs for an hour by hand: bun test/scale/soak-run.ts
  test("relay and workers of the executable hold what they held before, and every answer was right", async () => {
    const { before, rounds } = await runSoak(2_000, [4_000]);
    const { tally, after } = rounds[0]!;
    expect(tally.wrong).toEqual([]);
    expect(tally.whole).toBeGreaterThan(50);
    expect(tally.cuts).toBeGreaterThan(0);
    const pairs = [
      [before.relay, after.relay],
      ...before.workers.map((worker, index) => [worker, after.workers[index]!]),
    ];
    for (const [first, last] of pairs) {
      expect(last!.sockets).toBeLessThanOrEqual(first!.sockets + KEPT_ALIVE);
      expect(last!.files).toBeLessThanOrEqual(first!.files + KEPT_ALIVE);
      expect(last!.memory).toBeLessThan(first!.memory + 64 * MIB);
    }
  }, 60_000);

  for (const flags of [{ compress: false }, { compress: true }]) {
    test(`nothing is left of it in either end, ${flags.compress ? "compressed" : "as it is"}`, async () => {
      await using backend = startPacedBackend();
      const [relayClock, workerClock] = [new CountingClock(), new CountingClock()];
      await using rig = await startRig({
        relayClock,
        workerClock,
        worker: { ...flags, backendUrl: backend.url, linkVersion: "auto", maxConcurrency: 32 },
      });
      const traffic = (forMs: number, seed: number) =>
        runTraffic({
          // Past the proxy for clients, which remembers every connection.
          port: (rig.relay as PlainRelay).port,
          forMs,
          clients: 12,
          seed,
          cut: (kind) => rig.linkProxy.cut(kind),
        });
      const look = async () => {
        await rig.health<{ bytes_held: number; requests_in_flight: number; workers: { load: number }[] }>(
          (now) =>
            now.bytes_held + now.requests_in_flight + backend.running === 0 && now.workers[0]?.load === 0,
        );
        const { registry, requestCount, queueLength } = rig.relay.relay.core;
        return {
          core: [registry.size, requestCount, queueLength, rig.relay.relay.sessions.size],
          timers: [relayClock.set, workerClock.set],
          load: rig.worker.status().load,
          objects: objects(),
          sockets: holdingsOf(process.pid).sockets,
        };
      };
      expect((await traffic(1_500, 1)).wrong).toEqual([]);
      const before = await look();
      const tally = await traffic(3_000, 2);
      expect(tally.wrong).toEqual([]);
      expect(tally.whole).toBeGreaterThan(20);
      expect(tally.cuts).toBeGreaterThan(0);
      const after = await look();
      expect(after.core).toEqual([1, 0, 0, 1]);
      expect(after.load).toBe(0);
      expect(after.timers).toEqual(before.timers);
      expect(after.sockets).toBeLessThanOrEqual(before.sockets + KEPT_ALIVE);
      // Fewer than one for every four requests: what is kept for the next is not kept for each.
      const requests = tally.whole + tally.left;
      const grown = Object.entries(after.objects).filter(
        ([kind, count]) => count > before.objects[kind]! + 40 + requests / 4,
      );
      expect(grown, JSON.stringify({ requests, before: before.objects })).toEqual([]);
    }, 60_000);
  }
});
