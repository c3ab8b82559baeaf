import { describe, expect, test } from "bun:test";
import { V2_GRACE_MS } from "../../src/protocol/limits.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { event } from "./content.ts";
import { resumeAs } from "./matrix-stranger.ts";
import { RawClient } from "./raw-client.ts";
import { startRig, type RigOptions } from "./rig.ts";

// What befalls a session beside the one fault of a cell of the matrix.

const SSE = { "content-type": "text/event-stream" };
const V2: RigOptions["worker"] = { linkVersion: "auto", maxConcurrency: 4 };

describe("A worker that is to leave while its link is cut", () => {
  test("comes back first, and says what is left to say", async () => {
    await using rig = await startRig({ worker: V2 });
    const client = await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    asked.write(event("one"));
    await client.until(() => client.text === event("one"));
    rig.linkProxy.accepting = false;
    rig.linkProxy.cut("reset");
    await rig.events.next(({ kind }) => kind === "suspended");
    const left = rig.worker.drain();
    asked.write(event("two"));
    asked.end();
    await rig.events.next((told) => told.kind === "load" && told.load === 0);
    rig.linkProxy.accepting = true;
    expect((await client.answer()).toString()).toBe(event("one") + event("two"));
    await left;
    await rig.health((health) => health["workers_connected"] === 0);
  });

  test("leaves without a word when the grace period ends", async () => {
    const workerClock = new ManualClock();
    await using rig = await startRig({ worker: V2, workerClock });
    await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    rig.linkProxy.accepting = false;
    rig.linkProxy.cut("reset");
    await rig.events.next(({ kind }) => kind === "suspended");
    const left = rig.worker.drain();
    asked.answer(200, {});
    await rig.events.next((told) => told.kind === "load" && told.load === 0);
    workerClock.advance(V2_GRACE_MS);
    await left;
    expect(await rig.worker.closed).toEqual({ code: 0 });
  });

  test("leaves at once if it owes nothing", async () => {
    const workerClock = new ManualClock();
    const relayClock = new ManualClock();
    await using rig = await startRig({ worker: V2, workerClock, relayClock });
    const client = await RawClient.chat(rig.port);
    (await rig.backend.next()).answer(200, {});
    await client.answer();
    // A beat, with which the relay says what has come.
    const [link] = [...rig.linkProxy.open];
    const heard = link?.up.until(link.up.passed + 1);
    relayClock.advance(15_000);
    await heard;
    rig.linkProxy.accepting = false;
    rig.linkProxy.cut("reset");
    await rig.events.next(({ kind }) => kind === "suspended");
    await rig.worker.drain();
  });
});

describe("A worker that leaves", () => {
  test("waits until a client that reads slowly has made room for the rest of its answer", async () => {
    await using rig = await startRig({ worker: V2 });
    const client = await RawClient.chat(rig.port);
    client.pause();
    const asked = await rig.backend.next();
    // More than the kernels and the window hold; the last part comes in one piece.
    const text = "x".repeat(16 * 1024 * 1024);
    asked.answer(200, text);
    await rig.health<{ bytes_held: number }>(({ bytes_held }) => bytes_held > 128 * 1024);
    const left = rig.worker.drain();
    client.resume();
    expect((await client.answer()).length).toBe(text.length);
    await left;
  });
});

describe("A dial that fails in passing", () => {
  test("is not taken for a relay that speaks version 1 only", async () => {
    await using rig = await startRig({ worker: V2 });
    await rig.linkProxy.accepted.next();
    rig.linkProxy.cut("reset");
    (await rig.linkProxy.accepted.next()).cut("reset");
    // The request that asks why goes through.
    await rig.linkProxy.accepted.next();
    await rig.events.next(({ kind }) => kind === "resumed");
    expect(rig.events.items.map(({ kind }) => kind)).not.toContain("disconnected");
  });
});

describe("A connection that its own worker had given up", () => {
  test("does not end the session if it reaches the relay after the next one", async () => {
    const workerClock = new ManualClock();
    await using rig = await startRig({ worker: V2, workerClock });
    const client = await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    asked.write(event("one"));
    await client.until(() => client.text === event("one"));

    await rig.linkProxy.accepted.next();
    rig.linkProxy.cut("reset");
    const unheard = await rig.linkProxy.accepted.next();
    await unheard.down.until(1);
    unheard.down.silent = true;
    await unheard.up.until(unheard.up.passed + 1);
    workerClock.advance(10_000);
    workerClock.advance(0);
    await rig.events.next(({ kind }) => kind === "resumed");

    const [session] = rig.relay.relay.sessions.values();
    const id = session?.codec.resumption?.sessionId ?? "";
    // As many frames as the worker has had by now: with any other count it is turned away.
    for (let received = 0; ; received++)
      if ((await resumeAs(rig.clientProxy.url, { session: id, received })) === "resumed") break;
    await rig.events.next(({ kind }) => kind === "resumed");
    asked.write(event("two"));
    asked.end();
    expect((await client.answer()).toString()).toBe(event("one") + event("two"));
    expect(rig.events.items.map(({ kind }) => kind)).not.toContain("disconnected");
  });
});
