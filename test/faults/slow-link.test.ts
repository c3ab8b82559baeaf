import { expect, test } from "bun:test";
import { PING_INTERVAL_MS, PONG_TIMEOUT_MS } from "../../src/protocol/limits.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { RawClient, postHead } from "./raw-client.ts";
import { startRig } from "./rig.ts";

const BODY_BYTES = 40_000_000;
/** Passes between two beats; the kernel's buffers hold some megabytes besides. */
const STEP_BYTES = 1_000_000;

test("A link that is busy with a long request for longer than its heartbeat may be silent is not dropped", async () => {
  const relayClock = new ManualClock();
  await using rig = await startRig({
    relayClock,
    relay: { sseKeepaliveMs: 0, requestTimeoutMs: 0 },
    link: { down: { bytesPerSecond: 30_000_000 } },
  });
  const [link] = [...rig.linkProxy.open];
  if (link === undefined) throw new Error("The worker has no link");
  const client = await RawClient.connect(rig.port);
  const body = `{"model":"m","text":"${"x".repeat(BODY_BYTES)}"}`;
  client.write(postHead(body.length) + body);
  // Each ping waits behind the body, and so does each pong.
  for (let busyFor = 0; busyFor < 4 * PONG_TIMEOUT_MS; busyFor += PING_INTERVAL_MS) {
    await link.down.until(link.down.passed + STEP_BYTES);
    expect(rig.relay.relay.core.registry.size).toBe(1);
    relayClock.advance(PING_INTERVAL_MS);
  }
  const asked = await rig.backend.next();
  expect(asked.body.length).toBe(body.length);
  asked.answer(200, { served: true });
  expect((await client.answer()).toString()).toBe('{"served":true}');
  expect(rig.events.items.filter(({ kind }) => kind === "disconnected")).toEqual([]);
}, 20_000);

test("A link that stops in the middle of a long request is dropped all the same", async () => {
  const relayClock = new ManualClock();
  await using rig = await startRig({ relayClock, relay: { sseKeepaliveMs: 0, requestTimeoutMs: 0 } });
  const [link] = [...rig.linkProxy.open];
  if (link === undefined) throw new Error("The worker has no link");
  link.silence();
  const client = await RawClient.connect(rig.port);
  const body = `{"model":"m","text":"${"x".repeat(BODY_BYTES)}"}`;
  client.write(postHead(body.length) + body);
  await rig.health<{ workers: { in_flight: number }[] }>(({ workers }) => workers[0]?.in_flight === 1);
  // At first the kernel may still take a little at each beat, which counts as a sign of life.
  for (let beats = 0; beats < 20 && rig.relay.relay.core.registry.size > 0; beats++) {
    relayClock.advance(PING_INTERVAL_MS);
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(rig.relay.relay.core.registry.size).toBe(0);
  expect(rig.relay.relay.core.queueLength).toBe(1);
}, 20_000);
