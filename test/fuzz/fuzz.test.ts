import { describe, expect, test } from "bun:test";
import { seedOf } from "./random.ts";
import { TARGETS, type TargetName } from "./targets.ts";

/** A share of what `bun scripts/fuzz.ts` does in full; a second or so for each. */
const RUNS: Record<TargetName, number> = {
  decoder: 150_000,
  channel: 4_000,
  relay: 4_000,
  worker: 4_000,
  response: 20_000,
};
const SEED = 1;
/** Memory that is left over when all is done; what one run holds would be many times this in so many. */
const LEFT_OVER = 64 * 1024 * 1024;

describe("Any bytes at all", () => {
  for (const [name, target] of Object.entries(TARGETS) as [TargetName, (seed: number) => void][]) {
    test(`give the ${name} frames or one typed error, and are let go of`, () => {
      for (let run = 0; run < 500; run++) target(seedOf(SEED + 1, run));
      Bun.gc(true);
      const before = process.memoryUsage().rss;
      for (let run = 0; run < RUNS[name]; run++) {
        try {
          target(seedOf(SEED, run));
        } catch (error) {
          const again = `bun scripts/fuzz.ts --target ${name} --seed ${SEED} --only ${run}`;
          throw new Error(`Run ${run} with seed ${SEED} failed; again with: ${again}`, { cause: error });
        }
      }
      Bun.gc(true);
      expect(process.memoryUsage().rss - before).toBeLessThan(LEFT_OVER);
    });
  }
});
