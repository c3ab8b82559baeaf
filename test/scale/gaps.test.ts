import { describe, expect, test } from "bun:test";
import { startBinaryFleet } from "./fleet.ts";
import { histogram, lateOnes, measureSteps, startNagleProxy, startSteppedBackend } from "./gaps.ts";

const STEPS = 150;
/** A busy machine is late now and then; Nagle's algorithm is at every step. */
const NOW_AND_THEN = STEPS / 10;

describe("A token", () => {
  for (const flags of [["--link-version=auto"], ["--link-version=v1"], ["--compress"]]) {
    test(`is never held back on any hop until the one before is acknowledged: worker ${flags[0]}`, async () => {
      await using backend = await startSteppedBackend();
      await using fleet = await startBinaryFleet(backend.url, { worker: flags });
      const direct = await measureSteps(backend.port, STEPS);
      const relayed = await measureSteps(fleet.port, STEPS);
      expect(
        lateOnes(relayed),
        JSON.stringify({ direct: histogram(direct), relayed: histogram(relayed) }),
      ).toBeLessThanOrEqual(lateOnes(direct) + NOW_AND_THEN);
    }, 60_000);
  }

  test("would be seen to be held back", async () => {
    await using backend = await startSteppedBackend();
    await using proxy = await startNagleProxy(backend.port);
    const steps = 40;
    const took = await measureSteps(proxy.port, steps);
    expect(lateOnes(took), JSON.stringify(histogram(took))).toBeGreaterThan(steps / 2);
  }, 60_000);
});
