import { describe, expect, test } from "bun:test";
import { ManualClock } from "../support/manual-clock.ts";
import { startFakeBackend, type FakeBackend } from "../support/fake-backend.ts";
import { startFakeRelay, type FakeLink, type FakeRelay } from "./fake-relay.ts";
import { startTestWorker, type StartedWorker } from "./started-worker.ts";

const CHAT = { model: "tiny", messages: [{ role: "user", content: "Hi" }] };
const HANDOVER = { type: "graceful_shutdown", reason: "handover", drain_timeout_secs: 3_600 };

interface Moved extends AsyncDisposable {
  relay: FakeRelay;
  backend: FakeBackend;
  started: StartedWorker;
  /** To the process that was the relay, and to the one that is it now. */
  older: FakeLink;
  newer: FakeLink;
}

/** A worker with a link to each of two processes, and what the older one gave it before it asked it to move. */
async function moved(
  maxConcurrency: number,
  before: (older: FakeLink, backend: FakeBackend) => Promise<void> = async () => {},
): Promise<Moved> {
  const backend = await startFakeBackend(["tiny"]);
  const relay = startFakeRelay();
  const started = startTestWorker(relay, backend, { maxConcurrency, drainTimeoutMs: 60_000 });
  const older = await relay.nextLink();
  expect((await older.accept())["features"]).toContain("move");
  await started.next("registered");
  await older.next("models_update");
  await before(older, backend);
  older.say(HANDOVER);
  const newer = await relay.nextLink();
  return {
    relay,
    backend,
    started,
    older,
    newer,
    async [Symbol.asyncDispose]() {
      await started[Symbol.asyncDispose]();
      await relay[Symbol.asyncDispose]();
      await backend.stop();
    },
  };
}

const complete = (link: FakeLink, id: string) => link.next("response_complete", id);

/** Resolves once the worker has told a relay that it is as busy as this. */
const toldLoad = (link: FakeLink, load: number) =>
  link.inbox.next((message) => message.type === "models_update" && message["current_load"] === load);

describe("A worker whose relay is replaced", () => {
  test("dials at once, serves over both links, and stays when the older one ends", async () => {
    await using all = await moved(4);
    await all.newer.accept();
    all.older.request("r1", CHAT);
    (await all.backend.next()).answer(200, { n: 1 });
    all.newer.request("r2", CHAT);
    (await all.backend.next()).answer(200, { n: 2 });
    expect(await complete(all.older, "r1")).toMatchObject({ status_code: 200, body: '{"n":1}' });
    expect(await complete(all.newer, "r2")).toMatchObject({ status_code: 200, body: '{"n":2}' });
    all.older.close(1012, "done");
    await all.older.closed;
    all.newer.request("r3", CHAT);
    (await all.backend.next()).answer(200, { n: 3 });
    expect(await complete(all.newer, "r3")).toMatchObject({ status_code: 200, body: '{"n":3}' });
    expect([all.relay.asked, all.started.worker.status().state]).toEqual([2, "ready"]);
  });

  test("goes on with what ran, to its last byte", async () => {
    await using all = await moved(4, async (older) => {
      older.request("r1", { ...CHAT, stream: true });
    });
    const exchange = await all.backend.next();
    exchange.head(200, { "content-type": "text/event-stream" });
    exchange.write("data: 1\n\n");
    await all.newer.accept();
    exchange.write("data: 2\n\n");
    exchange.end();
    expect(await all.older.collect("r1")).toMatchObject({ text: "data: 1\n\ndata: 2\n\n" });
  });

  test("says to the newer one how much runs for the older, and when that is less", async () => {
    let first: Awaited<ReturnType<FakeBackend["next"]>> | undefined;
    await using all = await moved(2, async (older, backend) => {
      older.request("r1", CHAT);
      first = await backend.next();
    });
    expect(await all.newer.accept()).toMatchObject({ max_concurrent: 2, current_load: 1 });
    await toldLoad(all.newer, 1);
    first?.answer(200, {});
    await complete(all.older, "r1");
    await toldLoad(all.newer, 0);
    all.newer.request("r2", CHAT);
    await toldLoad(all.older, 1);
    (await all.backend.next()).answer(200, {});
    await complete(all.newer, "r2");
  });

  test("runs no more at once than it may, whoever sends it; what waits is served in turn", async () => {
    await using all = await moved(1, async (older) => {
      older.request("r1", CHAT);
    });
    const first = await all.backend.next();
    await all.newer.accept();
    all.newer.request("r2", CHAT);
    await toldLoad(all.older, 2);
    // What comes over one link beyond what the worker may run is that relay's mistake, as ever.
    all.older.request("r3", CHAT);
    expect(await complete(all.older, "r3")).toMatchObject({ status_code: 503 });
    expect(all.backend.exchanges.items).toEqual([]);
    first.answer(200, { n: 1 });
    await complete(all.older, "r1");
    (await all.backend.next()).answer(200, { n: 2 });
    expect(await complete(all.newer, "r2")).toMatchObject({ status_code: 200, body: '{"n":2}' });
  });

  test("forgets what waits when its client leaves, and when its link ends", async () => {
    await using all = await moved(1, async (older) => {
      older.request("r1", CHAT);
    });
    const first = await all.backend.next();
    await all.newer.accept();
    all.newer.request("r2", CHAT);
    await toldLoad(all.older, 2);
    all.newer.cancel("r2");
    expect(await complete(all.newer, "r2")).toMatchObject({ status_code: 499 });
    await toldLoad(all.older, 1);
    all.newer.request("r3", CHAT);
    await all.older.inbox.next((message) => message["current_load"] === 2);
    all.older.cut();
    await first.closed;
    const third = await all.backend.next();
    third.answer(200, { n: 3 });
    expect(await complete(all.newer, "r3")).toMatchObject({ status_code: 200, body: '{"n":3}' });
    expect(all.backend.exchanges.items).toEqual([]);
  });

  test("leaves both when it is told to leave", async () => {
    await using all = await moved(2, async (older) => {
      older.request("r1", CHAT);
    });
    await all.newer.accept();
    const first = await all.backend.next();
    const drained = all.started.worker.drain();
    first.answer(200, {});
    await complete(all.older, "r1");
    expect(await Promise.all([all.older.closed, all.newer.closed])).toMatchObject([
      { code: 1000 },
      { code: 1000 },
    ]);
    await drained;
    expect(await all.started.worker.closed).toEqual({ code: 0 });
  });

  test("goes on dialling the newer one while the older is there, and after", async () => {
    await using all = await moved(2);
    all.newer.close(1012, "not yet");
    const next = await all.relay.nextLink();
    await next.accept();
    all.older.request("r1", CHAT);
    (await all.backend.next()).answer(200, {});
    await complete(all.older, "r1");
    all.older.close(1012, "done");
    next.request("r2", CHAT);
    (await all.backend.next()).answer(200, {});
    await complete(next, "r2");
  });

  test("can be asked to move again by the newer one", async () => {
    await using all = await moved(2);
    await all.newer.accept();
    await all.newer.next("models_update");
    all.newer.say(HANDOVER);
    const newest = await all.relay.nextLink();
    await newest.accept();
    for (const [at, link] of [all.older, all.newer, newest].entries()) {
      link.request(`r${at}`, CHAT);
      (await all.backend.next()).answer(200, {});
      await complete(link, `r${at}`);
    }
  });

  test("drains as ever for any other reason", async () => {
    const clock = new ManualClock();
    const backend = await startFakeBackend(["tiny"]);
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend, {}, { clock, random: () => 0.5 });
    const link = await relay.nextLink();
    await link.accept();
    await started.next("registered");
    link.say({ type: "graceful_shutdown", reason: "server_shutdown" });
    expect(await link.closed).toMatchObject({ code: 1000 });
    expect(relay.asked).toBe(1);
    await backend.stop();
  });
});
