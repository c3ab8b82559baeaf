import { describe, expect, test } from "bun:test";
import { startFakeBackend, type Exchange, type FakeBackend } from "../support/fake-backend.ts";
import { DONE, errorAtEnd, event } from "./content.ts";
import { startFleet, startWorkerProgram, type Fleet } from "./processes.ts";
import { RawClient } from "./raw-client.ts";

const SSE = { "content-type": "text/event-stream" };
/** A link that was cut is waited for, which is not what these tests are about. */
const NO_GRACE = { serve: ["--link-grace=0"] };

/** A stream of which the client has the first event. */
async function beginStream(
  fleet: Fleet,
  backend: FakeBackend,
): Promise<{ client: RawClient; asked: Exchange }> {
  const client = await RawClient.chat(fleet.port, { stream: true });
  const asked = await backend.next();
  asked.head(200, SSE);
  asked.write(event("one"));
  await client.until(() => client.text === event("one"));
  return { client, asked };
}

describe("Worker process", () => {
  test("finishes the stream that runs when it gets SIGTERM, and ends with 0", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url);
    const { client, asked } = await beginStream(fleet, backend);
    fleet.worker.signal("SIGTERM");
    // It has said so to the relay, and offers nothing more.
    await fleet.health<{ workers: { models: string[] }[] }>(({ workers }) => workers[0]?.models.length === 0);
    asked.write(event("two") + DONE);
    await client.until(() => client.text === event("one") + event("two") + DONE);
    asked.end();
    expect((await client.answer()).toString()).toBe(event("one") + event("two") + DONE);
    expect(await fleet.worker.exited).toBe(0);
    await fleet.health((health) => health["workers_connected"] === 0);
  }, 20_000);

  test("that is killed in the middle of a stream: the client gets an error event, the next worker the queue", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, NO_GRACE);
    const { client, asked } = await beginStream(fleet, backend);
    const waiting = await RawClient.chat(fleet.port, { waiting: true });
    await fleet.health((health) => health["queue_depth"] === 1);
    fleet.worker.signal("SIGKILL");
    await client.answer();
    await asked.closed;
    expect(client.text).not.toContain("[DONE]");
    expect(errorAtEnd(client.text)?.code).toBe("worker_lost");
    await using _ = startWorkerProgram(fleet.url, backend.url);
    const next = await backend.next();
    expect(next.json()).toMatchObject({ waiting: true });
    next.answer(200, { served: true });
    expect((await waiting.answer()).toString()).toBe('{"served":true}');
  }, 20_000);
});

describe("Relay process", () => {
  test("finishes the stream that runs when it gets SIGTERM, refuses what is new, and ends with 0", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url);
    const { client, asked } = await beginStream(fleet, backend);
    const waiting = await RawClient.chat(fleet.port);
    await fleet.health((health) => health["queue_depth"] === 1);
    fleet.relay.signal("SIGTERM");
    // What waits is told at once that this relay will not serve it.
    await waiting.answer();
    expect([waiting.status, waiting.text.includes('"draining"')]).toEqual([503, true]);
    const refused: unknown = await RawClient.connect(fleet.port).catch((error: unknown) => error);
    expect(refused).toMatchObject({ code: "ECONNREFUSED" });
    asked.write(event("two") + DONE);
    asked.end();
    expect((await client.answer()).toString()).toBe(event("one") + event("two") + DONE);
    expect(await fleet.relay.exited).toBe(0);
  }, 20_000);

  test("that is killed takes its worker's requests from the backend, and the worker waits for the next one", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, NO_GRACE);
    const { client, asked } = await beginStream(fleet, backend);
    fleet.relay.signal("SIGKILL");
    expect(await client.ended).toBe("broken");
    await asked.closed;
    fleet.worker.signal("SIGTERM");
    expect(await fleet.worker.exited).toBe(0);
  }, 20_000);
});

describe("Backend process", () => {
  test("that is killed in the middle of a stream: the client gets an error event, and the link stays", async () => {
    // Answers its list of models, and begins a stream that it never ends.
    const script = `
      const server = Bun.serve({ hostname: "127.0.0.1", port: 0, idleTimeout: 0, fetch(request) {
        if (request.method === "GET") return Response.json({ data: [{ id: "m" }] });
        return new Response(new ReadableStream({ start(c) { c.enqueue("data: {}\\n\\n"); } }),
          { headers: { "content-type": "text/event-stream" } });
      } });
      process.stdout.write(String(server.port) + "\\n");`;
    const child = Bun.spawn([process.execPath, "-e", script], { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const { value } = await child.stdout.getReader().read();
      await using fleet = await startFleet(`http://127.0.0.1:${new TextDecoder().decode(value).trim()}`);
      const client = await RawClient.chat(fleet.port, { stream: true });
      await client.until(() => client.text === "data: {}\n\n");
      child.kill("SIGKILL");
      await client.answer();
      expect(client.text).not.toContain("[DONE]");
      expect(errorAtEnd(client.text)?.code).toBe("backend_unreachable");
      // Without its backend the worker offers nothing, over the same link.
      await fleet.health<{ workers: { models: string[] }[] }>(
        ({ workers }) => workers.length === 1 && workers[0]?.models.length === 0,
      );
      expect(fleet.worker.log).not.toContain("Lost the link");
    } finally {
      child.kill("SIGKILL");
      await child.exited;
    }
  }, 20_000);
});
