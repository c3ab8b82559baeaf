import { describe, expect, test } from "bun:test";
import type { CutKind } from "../support/cutting-proxy.ts";
import { DONE, errorAtEnd, event, eventsOf, textOf } from "./content.ts";
import { PLAIN_STREAM } from "../contract/promise.ts";
import { RawClient } from "./raw-client.ts";
import { startRig, type Rig } from "./rig.ts";

const SSE = { "content-type": "text/event-stream" };

/** The worker is back, and what it serves now comes through. */
async function servesAgain(rig: Rig): Promise<void> {
  const client = await RawClient.chat(rig.port);
  (await rig.backend.next()).answer(200, { again: true });
  expect((await client.answer()).toString()).toBe('{"again":true}');
}

for (const kind of ["close", "reset"] as CutKind[]) {
  describe(`A link that ends by ${kind}`, () => {
    test("leaves a queued request in its place, behind the one that was running", async () => {
      await using rig = await startRig();
      const running = await RawClient.chat(rig.port, { n: 1 });
      const first = await rig.backend.next();
      const queued = await RawClient.chat(rig.port, { n: 2 });
      await rig.health((health) => health["queue_depth"] === 1);
      rig.linkProxy.cut(kind);
      await first.closed;
      await rig.registered();
      const order = [];
      for (const client of [running, queued]) {
        const asked = await rig.backend.next();
        order.push((asked.json() as { n: number }).n);
        asked.answer(200, { served: order.at(-1) });
        await client.answer();
      }
      expect(order).toEqual([1, 2]);
      expect([running.text, queued.text]).toEqual(['{"served":1}', '{"served":2}']);
    });

    test("costs a request nothing that was sent and has no answer yet", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const first = await rig.backend.next();
      rig.linkProxy.cut(kind);
      // What nobody will read must not run on.
      await first.closed;
      const second = await rig.backend.next();
      expect(second.body.equals(first.body)).toBe(true);
      const stream = eventsOf(1, 3).join("");
      second.head(200, SSE);
      second.write(stream);
      second.end();
      expect((await client.answer()).toString()).toBe(stream);
    });

    test("costs a request nothing of which the backend has sent the head and half an event", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const first = await rig.backend.next();
      // The first is that over which the worker asked for the models.
      const passed = [...rig.backendProxy.open].at(-1);
      first.head(200, SSE);
      const before = passed?.down.passed ?? 0;
      first.write("data: {");
      await passed?.down.until(before + 7);
      rig.linkProxy.cut(kind);
      await first.closed;
      const second = await rig.backend.next();
      second.head(200, SSE);
      second.write(DONE);
      second.end();
      expect((await client.answer()).toString()).toBe(DONE);
    });

    for (const [state, events, rest] of [
      ["after the first chunk", 1, ""],
      ["in the middle of the stream", 5, ""],
      ["in the middle of an event", 3, 'data: {"half'],
      ["in the middle of a line end", 2, "data: {}\n"],
    ] as const) {
      test(`ends a stream with an error event ${state}, and without [DONE]`, async () => {
        await using rig = await startRig();
        const client = await RawClient.chat(rig.port, PLAIN_STREAM);
        const asked = await rig.backend.next();
        const sent = eventsOf(2, 8).slice(0, events).join("") + rest;
        asked.head(200, SSE);
        asked.write(sent);
        await client.until(() => client.received === Buffer.byteLength(sent));
        rig.linkProxy.cut(kind);
        await client.answer();
        await asked.closed;
        expect(client.text.startsWith(sent)).toBe(true);
        expect(client.text).not.toContain("[DONE]");
        expect(errorAtEnd(client.text)).toMatchObject({ code: "worker_lost", type: "server_error" });
        // Whatever was cut off, the error is an event of its own.
        expect(client.text.split("\n\n").at(-2)).toStartWith("data: {");
        await rig.registered();
        await servesAgain(rig);
        expect(rig.backend.exchanges.items).toEqual([]);
      });
    }

    test("ends a stream with an error event even after its last chunk, since nobody said that it was the last", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      asked.head(200, SSE);
      asked.write(event("all") + DONE);
      await client.until(() => client.text.endsWith(DONE));
      rig.linkProxy.cut(kind);
      await client.answer();
      expect(errorAtEnd(client.text)?.code).toBe("worker_lost");
      expect(client.text.startsWith(event("all") + DONE)).toBe(true);
    });

    test("breaks the client's connection where an answer has begun that is no stream of events", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port);
      const asked = await rig.backend.next();
      asked.head(200, { "content-type": "application/json" });
      // Above the size at which an answer goes out in pieces.
      asked.write(`{"text":"${"x".repeat(3 * 1024 * 1024)}`);
      await client.until(() => client.received > 1024 * 1024);
      rig.linkProxy.cut(kind);
      expect(await client.ended).toBe("broken");
      await asked.closed;
    });

    test("takes nothing back that is done", async () => {
      await using rig = await startRig();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      const stream = eventsOf(3, 4).join("");
      asked.head(200, SSE);
      asked.write(stream);
      asked.end();
      await client.until(() => client.whole);
      rig.linkProxy.cut(kind);
      expect((await client.answer()).toString()).toBe(stream);
      await rig.registered();
      await servesAgain(rig);
    });
  });
}

describe("A link", () => {
  test("that is lost four times under one request ends it with 503", async () => {
    await using rig = await startRig();
    const client = await RawClient.chat(rig.port, { stream: true });
    for (let losses = 0; losses < 4; losses++) {
      const asked = await rig.backend.next();
      rig.linkProxy.cut("reset");
      await asked.closed;
    }
    await client.answer();
    const { error } = JSON.parse(client.text) as { error: { code: string } };
    expect([client.status, error.code]).toEqual([503, "worker_lost"]);
    await rig.registered();
    await servesAgain(rig);
  }, 15_000);

  test("that breaks inside a message hands on nothing of that message", async () => {
    // Long enough for the registration and the first events, and over inside a later one.
    const content = textOf(9, 4_000);
    await using rig = await startRig({ link: { up: { cutAfter: 12_000 } } });
    const client = await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    const whole = event("whole");
    asked.write(whole);
    await client.until(() => client.text === whole);
    asked.write(event(content));
    await client.answer();
    expect(client.text.startsWith(`${whole}data: {"error":`)).toBe(true);
    expect(errorAtEnd(client.text)?.code).toBe("worker_lost");
  });

  test("that breaks inside a request runs it on the next one", async () => {
    await using rig = await startRig({ link: { down: { cutAfter: 6_000, cutKind: "reset" } } });
    const content = textOf(10, 20_000);
    const client = await RawClient.chat(rig.port, { content });
    await rig.events.next(({ kind }) => kind === "disconnected");
    expect(rig.backend.exchanges.items).toEqual([]);
    rig.linkProxy.down = {};
    const asked = await rig.backend.next();
    expect(asked.json()).toMatchObject({ content });
    asked.answer(200, {});
    expect((await client.answer()).toString()).toBe("{}");
  });

  test("that is refused for a while is dialled until it is taken", async () => {
    await using rig = await startRig();
    rig.linkProxy.accepting = false;
    rig.linkProxy.cut("close");
    await rig.events.next(({ kind }) => kind === "failed");
    await rig.events.next(({ kind }) => kind === "failed");
    const waiting = await RawClient.chat(rig.port);
    await rig.health((health) => health["queue_depth"] === 1);
    rig.linkProxy.accepting = true;
    (await rig.backend.next()).answer(200, { late: true });
    expect((await waiting.answer()).toString()).toBe('{"late":true}');
  });
});
