import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog, type Log } from "../../../src/base/log.ts";
import type { ToThread } from "../../../src/server/store/store-messages.ts";
import { openStore } from "../../../src/server/store/store.ts";
import { StoreLink } from "../../../src/server/store/store-link.ts";
import {
  startStoreThread,
  type StartThread,
  type Thread,
  type ThreadEvents,
} from "../../../src/server/store/thread.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { dataFolder, errorOf, HealthWatch, key, usage } from "./stores.ts";

const SETTINGS = { file: "/data/modelrelay.db", url: undefined, purpose: "serve", timeoutMs: 5_000 } as const;

/** A thread that answers when the test says so: a real one is never stuck for long enough. */
function idleThread() {
  const told: ToThread[] = [];
  const starts: ThreadEvents[] = [];
  let stops = 0;
  const startThread: StartThread = (events) => {
    starts.push(events);
    return { tell: (message) => void told.push(message), stop: () => void stops++ };
  };
  return {
    startThread,
    told,
    starts,
    stops: () => stops,
    calls: () => told.flatMap((message) => ("call" in message ? [message.call] : [])),
  };
}

function linkTo(thread: ReturnType<typeof idleThread>, clock: ManualClock, log: Log = silentLog): StoreLink {
  const tools = { clock, log, random: () => 0.5, startThread: thread.startThread };
  return new StoreLink(SETTINGS, SETTINGS.file, tools);
}

describe("A store's link to its thread", () => {
  test("tells the settings first, then each call with its time, and matches answers by number", async () => {
    const thread = idleThread();
    const link = linkTo(thread, new ManualClock());
    const [first, second] = [link.call("revision", []), link.call("removeUsage", [5, 6], 70)];
    expect(thread.told).toEqual([
      { settings: SETTINGS },
      { call: { id: 1, name: "revision", args: [], timeoutMs: 5_000 } },
      { call: { id: 2, name: "removeUsage", args: [5, 6], timeoutMs: 70 } },
    ]);
    thread.starts[0]?.onReply({ id: 2, value: 22 });
    thread.starts[0]?.onReply({ id: 1, value: 11 });
    expect([await first, await second]).toEqual([11, 22]);
  });

  test("gives a call up that a stuck thread does not answer, and takes no notice of a late answer", async () => {
    const thread = idleThread();
    const clock = new ManualClock();
    const link = linkTo(thread, clock);
    const call = errorOf(link.call("revision", []));
    clock.advance(5_249);
    expect(clock.pending).toEqual([1]);
    clock.advance(1);
    const error = await call;
    expect([error.code, error.message]).toEqual([
      "store_timeout",
      'Cannot use the database "/data/modelrelay.db": its disk or server has not answered within 5 s',
    ]);
    thread.starts[0]?.onReply({ id: 1, value: 3 });
    expect(clock.pending).toEqual([]);
  });

  test("takes no more than a thousand calls that wait", async () => {
    const thread = idleThread();
    const clock = new ManualClock();
    const link = linkTo(thread, clock);
    const waiting = Array.from({ length: 1_000 }, () => errorOf(link.call("revision", [])));
    const error = await errorOf(link.call("revision", []));
    expect([error.code, error.message]).toEqual([
      "store_unavailable",
      expect.stringContaining("1000 calls wait for it already"),
    ]);
    expect(thread.calls()).toHaveLength(1_000);
    clock.advance(6_000);
    expect(new Set((await Promise.all(waiting)).map(({ code }) => code))).toEqual(new Set(["store_timeout"]));
  });

  test("rejects what waits when the thread dies, and starts another one after a wait that grows", async () => {
    const thread = idleThread();
    const clock = new ManualClock();
    const link = linkTo(thread, clock);
    for (const [deaths, delayMs] of [100, 200, 400].entries()) {
      const call = errorOf(link.call("revision", []));
      thread.starts[deaths]?.onEnd();
      expect((await call).code).toBe("store_unavailable");
      expect((await errorOf(link.call("revision", []))).code).toBe("store_unavailable");
      expect(clock.pending).toEqual([delayMs]);
      clock.advance(delayMs);
      expect(thread.starts).toHaveLength(deaths + 2);
    }
    expect(thread.told.filter((message) => "settings" in message)).toHaveLength(4);
    // One that answers starts the count over.
    const answered = link.call("revision", []);
    thread.starts[3]?.onReply({ id: thread.calls().at(-1)?.id ?? 0, value: 1 });
    expect(await answered).toBe(1);
    thread.starts[3]?.onEnd();
    expect(clock.pending).toEqual([100]);
  });

  test("closes although the thread is stuck, and starts no other", async () => {
    const thread = idleThread();
    const clock = new ManualClock();
    const link = linkTo(thread, clock);
    const call = errorOf(link.call("revision", []));
    const closed = link.close();
    clock.advance(2_250);
    await closed;
    expect([(await call).code, thread.stops()]).toEqual(["store_closed", 1]);
    thread.starts[0]?.onEnd();
    expect([clock.pending, thread.starts.length]).toEqual([[], 1]);
  });

  test("logs what a thread dies of", () => {
    const thread = idleThread();
    const lines: string[] = [];
    const log = { ...silentLog, error: (message: string) => void lines.push(message) };
    linkTo(thread, new ManualClock(), log);
    thread.starts[0]?.onFailure("out of memory");
    expect(lines).toEqual(["The database's thread failed"]);
  });
});

test("A store whose thread is ended is well again after a moment, with nothing lost", async () => {
  using folder = dataFolder();
  const threads: Thread[] = [];
  const watch = new HealthWatch();
  await using store = await openStore(
    { dataDir: folder.dir },
    {
      clock: systemClock,
      startThread(events) {
        const thread = startStoreThread(events);
        threads.push(thread);
        return thread;
      },
      changed: watch.changed,
    },
  );
  const record = key();
  await store.insertKey(record);
  const lost = watch.lost();
  threads[0]?.stop();
  expect((await errorOf(store.listKeys())).code).toBe("store_unavailable");
  expect((await lost).code).toBe("store_unavailable");
  await watch.back();
  expect([await store.listKeys(), threads.length]).toEqual([[record], 2]);
});

test("A store reads many rows in a thread that nothing else waits for, and that ends with it", async () => {
  using folder = dataFolder();
  const threads: Thread[] = [];
  const ends: Promise<void>[] = [];
  const store = await openStore(
    { dataDir: folder.dir },
    {
      clock: systemClock,
      startThread(events) {
        const { promise, resolve } = Promise.withResolvers<void>();
        ends.push(promise);
        const thread = startStoreThread({ ...events, onEnd: resolve });
        threads.push(thread);
        return thread;
      },
    },
  );
  const row = usage();
  await store.insertUsage([row]);
  await store.listKeys();
  expect(threads).toHaveLength(1);
  expect(await store.recentRequests({ limit: 1 })).toEqual([row]);
  // The thread of the short calls has no part in it.
  threads[0]?.stop();
  expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 1 }]);
  expect([await store.tokensByKey(0), threads.length]).toEqual([new Map(), 2]);
  await store.close();
  await Promise.all(ends);
  expect((await errorOf(store.sumUsage("model", 0))).code).toBe("store_closed");
  expect(threads).toHaveLength(2);
});
