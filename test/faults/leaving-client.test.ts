import { describe, expect, test } from "bun:test";
import { event } from "./content.ts";
import { postHead, RawClient } from "./raw-client.ts";
import { startRig, type Rig } from "./rig.ts";

const SSE = { "content-type": "text/event-stream" };

interface Load extends Record<string, unknown> {
  queue_depth: number;
  requests_in_flight: number;
  bytes_held: number;
  workers: { in_flight: number }[];
}

/** Nothing is left of the request that was abandoned, and the worker's slot is free. */
async function nothingLeft(rig: Rig): Promise<void> {
  const load = await rig.health<Load>(
    (health) => health.requests_in_flight === 0 && health.queue_depth === 0,
  );
  expect([load.bytes_held, load.workers.map((worker) => worker.in_flight)]).toEqual([0, [0]]);
  const client = await RawClient.chat(rig.port, { after: true });
  const asked = await rig.backend.next();
  expect(asked.json()).toMatchObject({ after: true });
  asked.answer(200, { served: true });
  expect((await client.answer()).toString()).toBe('{"served":true}');
  expect(rig.backend.exchanges.items).toEqual([]);
}

for (const how of ["close", "reset"] as const) {
  describe(`A client that leaves by ${how}`, () => {
    test("while it uploads its body reaches no backend", async () => {
      await using rig = await startRig();
      const client = await RawClient.connect(rig.port);
      const half = '{"model":"m","half":"';
      // A smaller body is counted only when it is whole.
      client.write(postHead(100_000) + half);
      await rig.health<Load>((health) => health.bytes_held === half.length);
      client.leave(how);
      await rig.health<Load>((health) => health.bytes_held === 0);
      await nothingLeft(rig);
    });

    test("while it waits in the queue never reaches the backend", async () => {
      await using rig = await startRig();
      const running = await RawClient.chat(rig.port, { n: 1 });
      const asked = await rig.backend.next();
      const waiting = await RawClient.chat(rig.port, { n: 2 });
      await rig.health<Load>((health) => health.queue_depth === 1);
      waiting.leave(how);
      await rig.health<Load>((health) => health.queue_depth === 0);
      asked.answer(200, { served: 1 });
      await running.answer();
      await nothingLeft(rig);
    });

    test("before the head of the answer: the backend's connection is closed", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      client.leave(how);
      await asked.closed;
      await nothingLeft(rig);
    });

    test("between the head and the first event: the backend's connection is closed", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      asked.head(200, SSE);
      asked.write(": thinking\n\n");
      await asked.flushed();
      client.leave(how);
      await asked.closed;
      await nothingLeft(rig);
    });

    test("in the middle of a stream: the backend's connection is closed", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      asked.head(200, SSE);
      asked.write(event("one"));
      await client.until(() => client.text === event("one"));
      client.leave(how);
      await asked.closed;
      await nothingLeft(rig);
    });

    test("with much that it has not read: the backend's connection is closed, and nothing stays held", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      asked.head(200, SSE);
      asked.write(event("one"));
      await client.until(() => client.text === event("one"));
      client.pause();
      for (let i = 0; i < 30; i++) asked.write(event("x".repeat(1024 * 1024)));
      await rig.health<Load>((health) => health.bytes_held > 4 * 1024 * 1024);
      client.leave(how);
      await asked.closed;
      await nothingLeft(rig);
    });

    test("in the middle of a long answer that is no stream: the backend's connection is closed", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port);
      const asked = await rig.backend.next();
      asked.head(200, { "content-type": "application/json" });
      asked.write(`{"text":"${"x".repeat(3 * 1024 * 1024)}`);
      await client.until(() => client.received > 1024 * 1024);
      client.leave(how);
      await asked.closed;
      await nothingLeft(rig);
    });

    test("just when the answer is complete: the worker's slot is free all the same", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port);
      const asked = await rig.backend.next();
      asked.answer(200, { text: "x" });
      client.leave(how);
      await nothingLeft(rig);
    });
  });
}
