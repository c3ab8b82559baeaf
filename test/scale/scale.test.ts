import { describe, expect, test } from "bun:test";
import { RawClient } from "../faults/raw-client.ts";
import { startFakeBackend, type Exchange } from "../support/fake-backend.ts";
import { startBinaryFleet } from "./fleet.ts";
import { runScale } from "./load.ts";

const MIB = 1024 * 1024;
const CAPACITY = 1_000;

describe("One relay", () => {
  // A fifth of what it is built for; by hand at full size: bun test/scale/run.ts
  test("serves 400 paced streams beside 200 idle workers, every byte of them", async () => {
    const idle = 200;
    const result = await runScale({ idle, streams: 400, workers: 2, events: 20, gapMs: 100 });
    expect(result.wrong).toEqual([]);
    expect(result.atOnce).toBe(400);
    expect(result.left).toEqual({ workers: idle + 2, requests: 0, bytesHeld: 0, queued: 0 });
    // 64 MiB for 1,000 of them; what the runtime takes at its first connections is not theirs.
    const perIdle = (result.relay.withIdle.memory - result.relay.alone.memory) / idle;
    expect(perIdle).toBeLessThan((64 * MIB) / 1_000 + (8 * MIB) / idle);
  }, 60_000);

  for (const link of ["auto", "v1"]) {
    test(`has ${CAPACITY} requests at the backend of one worker at once, link version ${link}`, async () => {
      await using backend = await startFakeBackend(["m"]);
      await using fleet = await startBinaryFleet(backend.url, {
        worker: [`--max-concurrency=${CAPACITY}`, `--link-version=${link}`],
        serve: [`--max-queue-len=${CAPACITY}`],
      });
      const clients: RawClient[] = [];
      for (let n = 0; n < CAPACITY; n++) clients.push(await RawClient.chat(fleet.port, { seed: n }));
      // None is answered before the last one is there.
      const exchanges: Exchange[] = [];
      while (exchanges.length < CAPACITY) exchanges.push(await backend.next());
      for (const exchange of exchanges)
        exchange.answer(200, { seed: (exchange.json() as { seed: number }).seed });
      const answers = await Promise.all(clients.map((client) => client.answer()));
      const wrong = answers.flatMap((body, seed) => (body.toString() === `{"seed":${seed}}` ? [] : [seed]));
      expect(wrong).toEqual([]);
    }, 60_000);
  }
});
