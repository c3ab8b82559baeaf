import { describe, expect, test } from "bun:test";
import { CLOSE, PING_INTERVAL_MS, PONG_TIMEOUT_MS } from "../../src/protocol/limits.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { errorAtEnd, event, eventsOf } from "./content.ts";
import { RawClient } from "./raw-client.ts";
import { startRig } from "./rig.ts";

const SSE = { "content-type": "text/event-stream" };

describe("A link that carries nothing any more and is not closed", () => {
  test("is dropped by the relay after 45 s of silence: the stream on it ends with an error event", async () => {
    const relayClock = new ManualClock();
    await using rig = await startRig({ relayClock, relay: { sseKeepaliveMs: 0 } });
    const client = await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    asked.write(event("one"));
    await client.until(() => client.text === event("one"));
    rig.linkProxy.silence();
    for (let silentFor = 0; silentFor < PONG_TIMEOUT_MS; silentFor += PING_INTERVAL_MS) {
      expect([rig.relay.relay.core.registry.size, client.whole]).toEqual([1, false]);
      relayClock.advance(PING_INTERVAL_MS);
    }
    expect(rig.relay.relay.core.registry.size).toBe(0);
    await client.answer();
    expect(client.text).not.toContain("[DONE]");
    expect(errorAtEnd(client.text)?.code).toBe("worker_lost");
  });

  test("is dropped by the relay, and what had no byte yet runs on the next one", async () => {
    const relayClock = new ManualClock();
    const workerClock = new ManualClock();
    await using rig = await startRig({ relayClock, workerClock, relay: { sseKeepaliveMs: 0 } });
    const client = await RawClient.chat(rig.port, { stream: true });
    const lost = await rig.backend.next();
    rig.linkProxy.silence();
    relayClock.advance(PONG_TIMEOUT_MS);
    expect(rig.relay.relay.core.registry.size).toBe(0);
    // The worker's own watch finds out for itself, since no goodbye reached it.
    workerClock.advance(PONG_TIMEOUT_MS);
    await lost.closed;
    workerClock.advance(0);
    await rig.registered();
    const asked = await rig.backend.next();
    const stream = eventsOf(1, 3).join("");
    asked.head(200, SSE);
    asked.write(stream);
    asked.end();
    expect((await client.answer()).toString()).toBe(stream);
  });

  test("is dropped by the worker after 45 s of silence: it closes its backend's connections and dials again", async () => {
    const workerClock = new ManualClock();
    await using rig = await startRig({ workerClock });
    await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    asked.write(event("one"));
    rig.linkProxy.silence();
    workerClock.advance(PONG_TIMEOUT_MS - 1);
    expect(rig.worker.status().state).toBe("ready");
    workerClock.advance(1);
    expect(await rig.events.next(({ kind }) => kind === "disconnected")).toMatchObject({
      code: CLOSE.silent,
    });
    await asked.closed;
    workerClock.advance(0);
    await rig.registered();
    // The relay still holds the dead link, and gives new work to the living one.
    expect(rig.relay.relay.core.registry.size).toBe(2);
    const client = await RawClient.chat(rig.port);
    (await rig.backend.next()).answer(200, { again: true });
    expect((await client.answer()).toString()).toBe('{"again":true}');
  });

  test("is told from one that is only quiet: pings alone keep it for minutes", async () => {
    const relayClock = new ManualClock();
    const workerClock = new ManualClock();
    await using rig = await startRig({ relayClock, workerClock, relay: { sseKeepaliveMs: 0 } });
    const client = await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    const [link] = [...rig.linkProxy.open];
    if (link === undefined) throw new Error("The worker has no link");
    for (let quietFor = 0; quietFor < 4 * PONG_TIMEOUT_MS; quietFor += PING_INTERVAL_MS) {
      expect(rig.relay.relay.core.registry.size).toBe(1);
      const answered = link.up.until(link.up.passed + 1);
      relayClock.advance(PING_INTERVAL_MS);
      await answered;
      workerClock.advance(PING_INTERVAL_MS);
    }
    asked.head(200, SSE);
    asked.write(event("at last"));
    asked.end();
    expect((await client.answer()).toString()).toBe(event("at last"));
    expect(rig.events.items.filter(({ kind }) => kind === "disconnected")).toEqual([]);
  });
});

describe("A dial into silence", () => {
  test("is given up after 10 s, and the next one is taken", async () => {
    const workerClock = new ManualClock();
    await using rig = await startRig({ workerClock });
    rig.linkProxy.silent = true;
    rig.linkProxy.cut("reset");
    await rig.events.next(({ kind }) => kind === "disconnected");
    workerClock.advance(0);
    workerClock.advance(10_000);
    expect(await rig.events.next(({ kind }) => kind === "failed")).toMatchObject({
      failure: { kind: "silent" },
    });
    rig.linkProxy.silent = false;
    workerClock.advance(0);
    await rig.registered();
  });
});
