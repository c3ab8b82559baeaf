import { describe, expect, test } from "bun:test";
import { startFakeBackend } from "../support/fake-backend.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { errorAtEnd, event, eventsOf } from "./content.ts";
import { PLAIN_STREAM } from "../contract/promise.ts";
import { RawClient } from "./raw-client.ts";
import { startRig, type Rig } from "./rig.ts";

const SSE = { "content-type": "text/event-stream" };

/** The link has not been lost since the rig was built, and the next request is served over it. */
async function linkStayed(rig: Rig, workerId: string | undefined): Promise<void> {
  const client = await RawClient.chat(rig.port);
  (await rig.backend.next()).answer(200, { served: true });
  expect((await client.answer()).toString()).toBe('{"served":true}');
  expect(rig.events.items.map(({ kind }) => kind)).not.toContain("disconnected");
  expect(workerId).toBeString();
  expect(rig.worker.status().workerId).toBe(workerId);
}

function errorIn(client: RawClient): { code: string; message: string } {
  return (JSON.parse(client.text) as { error: { code: string; message: string } }).error;
}

for (const death of ["cut", "reset"] as const) {
  describe(`A backend whose connection is ${death === "cut" ? "closed" : "reset"}`, () => {
    test("before any byte of an answer makes it 502 backend_unreachable", async () => {
      await using rig = await startRig();
      const { workerId } = rig.worker.status();
      for (const stream of [true, false]) {
        const client = await RawClient.chat(rig.port, { stream });
        (await rig.backend.next())[death]();
        await client.answer();
        expect([client.status, errorIn(client).code]).toEqual([502, "backend_unreachable"]);
        expect(client.headers["x-modelrelay-error"]).toBe("backend");
      }
      await linkStayed(rig, workerId);
    });

    test("between the head and the first event makes it 502, whatever the head said", async () => {
      await using rig = await startRig();
      const { workerId } = rig.worker.status();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      asked.head(200, SSE);
      await asked.flushed();
      asked[death]();
      await client.answer();
      expect([client.status, errorIn(client).code]).toEqual([502, "backend_unreachable"]);
      await linkStayed(rig, workerId);
    });

    test("in the middle of a stream ends it with an error event, without [DONE]", async () => {
      await using rig = await startRig();
      const { workerId } = rig.worker.status();
      const client = await RawClient.chat(rig.port, { stream: true });
      const asked = await rig.backend.next();
      const sent = eventsOf(1, 5).slice(0, 5).join("");
      asked.head(200, SSE);
      asked.write(sent);
      await client.until(() => client.received === Buffer.byteLength(sent));
      asked[death]();
      await client.answer();
      expect(client.text.startsWith(sent)).toBe(true);
      expect(client.text).not.toContain("[DONE]");
      expect(errorAtEnd(client.text)).toMatchObject({ code: "backend_unreachable", type: "server_error" });
      await linkStayed(rig, workerId);
    });

    test("in the middle of an answer of known length makes it 502: half an answer is none", async () => {
      await using rig = await startRig();
      const { workerId } = rig.worker.status();
      const client = await RawClient.chat(rig.port);
      const asked = await rig.backend.next();
      asked.head(200, { "content-type": "application/json", "content-length": "1000" });
      asked.write('{"half":"');
      await asked.flushed();
      asked[death]();
      await client.answer();
      expect([client.status, errorIn(client).code]).toEqual([502, "backend_unreachable"]);
      await linkStayed(rig, workerId);
    });

    test("in the middle of a long answer that has begun breaks the client's connection", async () => {
      await using rig = await startRig();
      const { workerId } = rig.worker.status();
      const client = await RawClient.chat(rig.port);
      const asked = await rig.backend.next();
      asked.head(200, { "content-type": "application/json", "content-length": "9000000" });
      asked.write(`{"text":"${"é".repeat(2 * 1024 * 1024)}`);
      await client.until(() => client.received > 1024 * 1024);
      asked[death]();
      expect(await client.ended).toBe("broken");
      await linkStayed(rig, workerId);
    });
  });
}

describe("A backend that stops listening", () => {
  test("gives 502, has its models out of service until it answers again, and costs the link nothing", async () => {
    const workerClock = new ManualClock();
    await using rig = await startRig({ workerClock });
    const { workerId } = rig.worker.status();
    await rig.backend.stop();
    const client = await RawClient.chat(rig.port);
    await client.answer();
    expect([client.status, errorIn(client).code]).toEqual([502, "backend_unreachable"]);
    expect(errorIn(client).message).not.toContain("127.0.0.1");
    await rig.events.next((told) => told.kind === "models" && told.models.length === 0);
    await rig.health<{ workers: { models: string[] }[] }>(({ workers }) => workers[0]?.models.length === 0);

    const waiting = await RawClient.chat(rig.port);
    await rig.health((health) => health["queue_depth"] === 1);
    await using again = await startFakeBackend(["m"], rig.backend.port);
    workerClock.advance(5_000);
    (await again.next()).answer(200, { back: true });
    expect((await waiting.answer()).toString()).toBe('{"back":true}');
    expect(rig.worker.status().workerId).toBe(workerId);
    expect(rig.events.items.map(({ kind }) => kind)).not.toContain("disconnected");
  });

  test("in the middle of several streams ends each of them with an error event", async () => {
    await using rig = await startRig({ worker: { maxConcurrency: 8 } });
    const clients = await Promise.all(
      Array.from({ length: 8 }, () => RawClient.chat(rig.port, { stream: true })),
    );
    for (const _ of clients) {
      const asked = await rig.backend.next();
      asked.head(200, SSE);
      asked.write(event("begun"));
    }
    for (const client of clients) await client.until(() => client.text === event("begun"));
    await rig.backend.stop();
    for (const client of clients) {
      await client.answer();
      expect(errorAtEnd(client.text)?.code).toBe("backend_unreachable");
      expect(client.text).not.toContain("[DONE]");
    }
    expect(rig.worker.status().state).toBe("ready");
  });
});

describe("The way to a backend", () => {
  test("may end inside a character: what came before is passed on, and nothing is put in its place", async () => {
    await using rig = await startRig();
    const client = await RawClient.chat(rig.port, PLAIN_STREAM);
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    asked.write(event("whole"));
    asked.write(Buffer.concat([Buffer.from("data: "), Buffer.from("🙂").subarray(0, 2)]));
    await client.until(() => client.text === `${event("whole")}data: `);
    asked.cut();
    await client.answer();
    expect(client.text).not.toContain("\ufffd");
    expect(client.text.startsWith(`${event("whole")}data: \n\ndata: {"error":`)).toBe(true);
    expect(errorAtEnd(client.text)?.code).toBe("backend_unreachable");
  });
});
