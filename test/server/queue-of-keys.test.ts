import { expect, test } from "bun:test";
import type { Priority } from "../../src/server/client.ts";
import { healthAt } from "../faults/rig.ts";
import { SECRET } from "../support/relays.ts";
import { startKeyedRelay, type KeyedRelay } from "../support/keyed-relay.ts";

type Health = { queue_depth: number; queued_by_priority: Record<Priority, number> };

/** A relay whose one worker is busy; what is asked then waits, in this order. */
async function busyRelay(more: Parameters<typeof startKeyedRelay>[0] = {}) {
  const relay = await startKeyedRelay(more);
  const worker = await relay.worker(SECRET);
  await worker.register(["m"], { max_concurrent: 1 });
  const key = await relay.key();
  const first = ask(relay, key.secret, "first");
  let running = await worker.next("request");
  return {
    relay,
    first,
    wait: async (secret: string, label: string, waiting: number) => {
      const response = ask(relay, secret, label);
      await healthAt<Health>(relay.url, (health) => health.queue_depth === waiting);
      return { response };
    },
    health: () => healthAt<Health>(relay.url, () => true),
    /** What the worker is given next, by its label, once what it has is done. */
    async next(): Promise<string> {
      worker.complete(running, 200, "{}");
      running = await worker.next("request");
      return /label-(\w+)/.exec(JSON.stringify(running))?.[1] ?? "";
    },
    [Symbol.asyncDispose]: async () => {
      worker.cut();
      await relay[Symbol.asyncDispose]();
    },
  };
}

function ask(relay: KeyedRelay, secret: string, label: string): Promise<Response> {
  const body = JSON.stringify({ model: "m", messages: [{ role: "user", content: `label-${label}` }] });
  const headers = { "content-type": "application/json", authorization: `Bearer ${secret}` };
  const response = relay.fetch("/v1/chat/completions", { method: "POST", headers, body });
  // Those that still wait at the end of a test are cut off.
  response.catch(() => {});
  return response;
}

test("Keys take turns in the queue, and a key of a higher class goes first", async () => {
  await using busy = await busyRelay();
  const { relay } = busy;
  const [a, b, low, high] = await Promise.all([
    relay.key(),
    relay.key(),
    relay.key({ priority: "low" }),
    relay.key({ priority: "high" }),
  ]);
  let waiting = 0;
  for (const [key, label] of [
    [low, "l1"],
    [a, "a1"],
    [a, "a2"],
    [a, "a3"],
    [b, "b1"],
    [high, "h1"],
  ] as const)
    await busy.wait(key.secret, label, ++waiting);
  expect((await busy.health()).queued_by_priority).toEqual({ high: 1, normal: 4, low: 1 });
  const order: string[] = [];
  while (order.length < waiting) order.push(await busy.next());
  expect(order).toEqual(["h1", "a1", "b1", "a2", "a3", "l1"]);
});

test("A key that fills the queue gives way to another, and is told when to come back", async () => {
  await using busy = await busyRelay({ maxQueueLen: 2 });
  const { relay } = busy;
  const [a, b] = await Promise.all([relay.key(), relay.key()]);
  await busy.wait(a.secret, "a1", 1);
  const newest = await busy.wait(a.secret, "a2", 2);
  void ask(relay, b.secret, "b1");
  const refused = await newest.response;
  expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
  expect(await refused.json()).toMatchObject({ error: { code: "queue_full" } });
  expect([await busy.next(), await busy.next()]).toEqual(["a1", "b1"]);
  expect((await busy.first).status).toBe(200);
});
