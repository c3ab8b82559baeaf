import { afterEach, describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog, type Log, type LogFields } from "../../../src/base/log.ts";
import { RequestRecord } from "../../../src/server/request-record.ts";
import { BATCH_MS, MAX_BATCH, MAX_WAITING, SpanExporter } from "../../../src/server/trace/span-exporter.ts";
import type { TracingConfig } from "../../../src/server/trace/tracing.ts";
import { Inbox } from "../../support/inbox.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { startFakeCollector, tracingTo, type FakeCollector } from "./fake-collector.ts";

interface Said {
  level: string;
  message: string;
  fields: LogFields;
}

/** An exporter whose time the test moves, and what it says. */
function exporterTo(url: string, more: Partial<TracingConfig> = {}) {
  const clock = new ManualClock();
  const said = new Inbox<Said>();
  const log: Log = {
    ...silentLog,
    warn: (message, fields = {}) => said.put({ level: "warn", message, fields }),
    info: (message, fields = {}) => said.put({ level: "info", message, fields }),
  };
  const exporter = new SpanExporter(tracingTo(url, more), { clock, log, random: () => 0.5 });
  let made = 0;
  return {
    clock,
    said,
    exporter,
    /** Requests `/1`, `/2` and so on have ended. */
    add: (count: number): void => {
      for (let i = 0; i < count; i++) exporter.add(ended(`/${++made}`, clock));
    },
  };
}

function ended(path: string, clock: ManualClock): RequestRecord {
  const record = new RequestRecord({ id: "own", clientId: "own", method: "GET", path }, clock, () => {});
  const ids = { traceId: "a".repeat(32), spanId: "b".repeat(16), workerSpanId: "c".repeat(16) };
  record.trace = { ...ids, parent: undefined, state: "", sampled: true, scheme: "http" };
  record.end();
  return record;
}

/** Waits until exactly these timers are set: what follows an answer comes some turns after it. */
async function timersAre(clock: ManualClock, ...delays: number[]): Promise<void> {
  const until = performance.now() + 5_000;
  while (!Bun.deepEquals(clock.pending, delays) && performance.now() < until)
    await new Promise((resolve) => setImmediate(resolve));
  expect(clock.pending).toEqual(delays);
}

let collector: FakeCollector;
afterEach(() => collector?.[Symbol.dispose]());

describe("Batches", () => {
  test("leave when they are full, at once, and else after five seconds", async () => {
    collector = startFakeCollector();
    const { add, clock, exporter } = exporterTo(collector.url);
    add(3);
    expect(clock.pending).toEqual([BATCH_MS]);
    clock.advance(BATCH_MS - 1);
    expect(collector.count).toBe(0);
    clock.advance(1);
    expect((await collector.posted.next()).paths).toEqual(["/1", "/2", "/3"]);
    await exporter.finish(1_000);
    const full = exporterTo(collector.url);
    full.add(MAX_BATCH - 1);
    expect(full.clock.pending).toEqual([BATCH_MS]);
    full.add(1);
    expect(full.clock.pending).toEqual([0]);
    full.clock.advance(0);
    expect((await collector.posted.next()).paths).toHaveLength(MAX_BATCH);
    await full.exporter.finish(1_000);
    expect([exporter.lost, full.exporter.lost, collector.count]).toEqual([0, 0, 2]);
  });

  test("go one at a time, in order, and what ends meanwhile waits for the next", async () => {
    collector = startFakeCollector();
    const gate = Promise.withResolvers<void>();
    collector.answer = () => gate.promise.then(() => Response.json({}));
    const { add, clock, exporter } = exporterTo(collector.url);
    add(MAX_BATCH);
    clock.advance(0);
    await collector.posted.next();
    add(MAX_BATCH + 1);
    expect(collector.count).toBe(1);
    gate.resolve();
    expect((await collector.posted.next()).paths[0]).toBe(`/${MAX_BATCH + 1}`);
    await timersAre(clock, BATCH_MS);
    clock.advance(BATCH_MS);
    expect((await collector.posted.next()).paths).toEqual([`/${2 * MAX_BATCH + 1}`]);
    await exporter.finish(1_000);
  });

  test("carry the fields and the coding that they are told to", async () => {
    collector = startFakeCollector();
    const { add, exporter } = exporterTo(collector.url, { gzip: true, headers: { "api-key": "k" } });
    add(2);
    await exporter.finish(1_000);
    const { headers, body, paths } = await collector.posted.next();
    expect([headers.get("api-key"), headers.get("content-encoding"), headers.get("content-type")]).toEqual([
      "k",
      "gzip",
      "application/json",
    ]);
    expect(paths).toEqual(["/1", "/2"]);
    expect([...body.subarray(0, 2)]).toEqual([0x1f, 0x8b]);
  });
});

describe("A collector in trouble", () => {
  test.each([429, 502, 503, 504])(
    "that answers %d is sent the same batch again, after a rest",
    async (status) => {
      collector = startFakeCollector();
      collector.answer = () => new Response("later", { status });
      const { add, clock, exporter, said } = exporterTo(collector.url);
      add(1);
      clock.advance(BATCH_MS);
      const first = await collector.posted.next();
      await timersAre(clock, 500);
      collector.answer = () => Response.json({});
      clock.advance(500);
      expect((await collector.posted.next()).body).toEqual(first.body);
      await exporter.finish(1_000);
      expect(said.items.map(({ level, fields }) => [level, fields["reason"], fields["lost"]])).toEqual([
        ["warn", `HTTP ${status}`, undefined],
        ["info", undefined, 0],
      ]);
      expect(exporter.lost).toBe(0);
    },
  );

  test("that names a time is not asked before, and not longer than five minutes", async () => {
    collector = startFakeCollector();
    collector.answer = () => new Response(null, { status: 503, headers: { "retry-after": "120" } });
    const { add, clock, exporter } = exporterTo(collector.url);
    add(1);
    clock.advance(BATCH_MS);
    await collector.posted.next();
    await timersAre(clock, 120_000);
    collector.answer = () => new Response(null, { status: 429, headers: { "retry-after": "86400" } });
    clock.advance(120_000);
    await collector.posted.next();
    await timersAre(clock, 300_000);
    // Not at the end either.
    await exporter.finish(1_000);
    expect([collector.count, exporter.lost]).toEqual([2, 1]);
  });

  test.each([400, 401, 404, 413, 500, 301])("that answers %d is not sent the same again", async (status) => {
    collector = startFakeCollector();
    const elsewhere = collector.url.replace("/v1/", "/elsewhere/");
    collector.answer = () => new Response("no", { status, headers: { location: elsewhere } });
    const { add, clock, exporter, said } = exporterTo(collector.url);
    for (let batch = 0; batch < 3; batch++) {
      add(MAX_BATCH);
      clock.advance(0);
      await collector.posted.next();
      await timersAre(clock);
    }
    await exporter.finish(1_000);
    expect([collector.count, exporter.lost]).toEqual([3, 3 * MAX_BATCH]);
    // Once when it begins, and once at the end.
    expect(said.items.map(({ fields }) => fields)).toEqual([
      { requests: MAX_BATCH, collector: new URL(collector.url).host, reason: `HTTP ${status}` },
      { lost_requests: 3 * MAX_BATCH, rejected_spans: 0 },
    ]);
  });

  test("that takes nothing for long loses a batch after five tries, and goes on with the next", async () => {
    collector = startFakeCollector();
    collector.answer = () => new Response(null, { status: 503 });
    const { add, clock, exporter } = exporterTo(collector.url);
    add(MAX_BATCH + 1);
    clock.advance(0);
    for (const rest of [500, 1_000, 2_000, 4_000]) {
      expect((await collector.posted.next()).paths[0]).toBe("/1");
      await timersAre(clock, rest);
      clock.advance(rest);
    }
    await collector.posted.next();
    await timersAre(clock, BATCH_MS);
    expect(exporter.lost).toBe(MAX_BATCH);
    clock.advance(BATCH_MS);
    await timersAre(clock, 8_000);
    collector.answer = () => Response.json({});
    clock.advance(8_000);
    expect((await collector.posted.next()).paths).toEqual([`/${MAX_BATCH + 1}`]);
    await exporter.finish(1_000);
    expect(exporter.lost).toBe(MAX_BATCH);
  });

  test("that says nothing is given up after its time, and nobody waits for it at the end", async () => {
    collector = startFakeCollector();
    collector.answer = () => new Promise(() => {});
    const { add, clock, exporter, said } = exporterTo(collector.url, { timeoutMs: 700 });
    add(1);
    clock.advance(BATCH_MS);
    await collector.posted.next();
    clock.advance(700);
    await timersAre(clock, 500);
    expect((await said.next()).fields["reason"]).toBe("no answer in time");
    clock.advance(500);
    await collector.posted.next();
    const finished = exporter.finish(300);
    add(1);
    clock.advance(300);
    await finished;
    expect([exporter.lost, clock.pending]).toEqual([2, []]);
  });

  test.each([200, 400])("that answers %d in the end is not rested for any more", async (status) => {
    collector = startFakeCollector();
    collector.answer = () => new Response(null, { status: 503 });
    const { add, clock, exporter } = exporterTo(collector.url);
    add(1);
    clock.advance(BATCH_MS);
    await collector.posted.next();
    await timersAre(clock, 500);
    collector.answer = () => new Response(null, { status });
    clock.advance(500);
    await collector.posted.next();
    await timersAre(clock);
    add(MAX_BATCH);
    clock.advance(0);
    // Without a timer that the test would have to move.
    expect((await collector.posted.next()).paths).toHaveLength(MAX_BATCH);
    await exporter.finish(1_000);
  });

  test("that answers without an end has taken the batch, and is hung up on", async () => {
    collector = startFakeCollector();
    const more = (controller: ReadableStreamDefaultController) =>
      controller.enqueue(Buffer.alloc(16 * 1024, "x"));
    collector.answer = () => new Response(new ReadableStream({ pull: more }));
    const { add, clock, exporter } = exporterTo(collector.url);
    add(1);
    clock.advance(BATCH_MS);
    await timersAre(clock);
    await exporter.finish(1_000);
    expect([collector.count, exporter.lost]).toEqual([1, 0]);
  });

  test("that trickles its answer for ever is taken at its status", async () => {
    collector = startFakeCollector();
    const gate = Promise.withResolvers<void>();
    const trickle = async (controller: ReadableStreamDefaultController) => {
      controller.enqueue(Buffer.from("{"));
      await gate.promise;
    };
    collector.answer = () => new Response(new ReadableStream({ pull: trickle }));
    const parts = { clock: systemClock, log: silentLog, random: () => 0 };
    const exporter = new SpanExporter(tracingTo(collector.url), parts);
    exporter.add(ended("/1", new ManualClock()));
    await exporter.finish(300);
    gate.resolve();
    expect([collector.count, exporter.lost]).toEqual([1, 0]);
  });

  test.each([
    ["no JSON", "<html>"],
    ["nothing", ""],
    ["an array", "[1]"],
    ["null", "null"],
    ["other types", '{"partialSuccess":{"rejectedSpans":{},"errorMessage":[]}}'],
    ["less than none", '{"partialSuccess":{"rejectedSpans":"-5"}}'],
    ["a megabyte", "x".repeat(1_000_000)],
  ])("that answers with %s has taken the batch", async (_, text) => {
    collector = startFakeCollector();
    collector.answer = () => new Response(text);
    const { add, exporter, said } = exporterTo(collector.url);
    add(1);
    await exporter.finish(10_000);
    expect([collector.count, exporter.lost, said.items]).toEqual([1, 0, []]);
  });

  test("that rejects a part of a batch is quoted once, and not sent it again", async () => {
    collector = startFakeCollector();
    const partialSuccess = { rejectedSpans: "3", errorMessage: "x".repeat(1_000) };
    collector.answer = () => Response.json({ partialSuccess });
    const { add, clock, exporter, said } = exporterTo(collector.url);
    add(1);
    clock.advance(BATCH_MS);
    await collector.posted.next();
    await said.next();
    add(1);
    await exporter.finish(1_000);
    expect(collector.count).toBe(2);
    expect(said.items.map(({ fields }) => fields)).toEqual([{ lost_requests: 0, rejected_spans: 6 }]);
  });

  test("that is not there, or hangs up, fails like one that says to come later", async () => {
    collector = startFakeCollector();
    const port = await new Promise<number>((resolve) => {
      const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1", () => {
        resolve((server.address() as { port: number }).port);
      });
      server.unref();
    });
    for (const url of ["http://127.0.0.1:1/v1/traces", `http://127.0.0.1:${port}/v1/traces`]) {
      const { add, clock, exporter, said } = exporterTo(url);
      add(1);
      clock.advance(BATCH_MS);
      expect((await said.next()).message).toBe(
        "The collector takes no traces; they wait, and are lost if there are too many",
      );
      await timersAre(clock, 500);
      await exporter.finish(1_000);
      expect([exporter.lost, clock.pending]).toEqual([1, []]);
    }
  });

  test("leaves no more than a bounded number of requests to wait; the rest are counted and told once", async () => {
    collector = startFakeCollector();
    collector.answer = () => new Promise(() => {});
    const { add, clock, exporter, said } = exporterTo(collector.url);
    add(MAX_BATCH);
    clock.advance(0);
    await collector.posted.next();
    add(MAX_WAITING);
    expect(exporter.lost).toBe(0);
    add(5_000);
    expect(exporter.lost).toBe(5_000);
    expect(said.items).toHaveLength(1);
    const finished = exporter.finish(0);
    await finished;
    expect(exporter.finish(5_000)).toBe(finished);
    expect(exporter.lost).toBe(5_000 + MAX_WAITING + MAX_BATCH);
    expect(said.items.at(-1)?.fields).toEqual({ lost_requests: exporter.lost, rejected_spans: 0 });
  });
});

test("An exporter that nothing was added to sets no timer and says nothing", async () => {
  collector = startFakeCollector();
  const { clock, exporter, said } = exporterTo(collector.url);
  expect(clock.pending).toEqual([]);
  await exporter.finish(1_000);
  expect([clock.pending, said.items, collector.count]).toEqual([[], [], 0]);
});
