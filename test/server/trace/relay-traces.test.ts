import { heapStats } from "bun:jsc";
import { describe, expect, test } from "bun:test";
import { createServer, type AddressInfo } from "node:net";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { startRelay } from "../../../src/server/index.ts";
import { MAX_BATCH, MAX_WAITING } from "../../../src/server/trace/span-exporter.ts";
import { startWorker } from "../../../src/worker/index.ts";
import { startRig, type Rig } from "../../faults/rig.ts";
import { startCollector, type CollectedSpan } from "../../support/collector.ts";
import { lacksPart } from "../../support/parts.ts";
import { relayConfig, SECRET } from "../../support/relays.ts";
import { tracingTo } from "./fake-collector.ts";

const TRACE = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN = "00f067aa0ba902b7";

function ask(rig: Rig, body: object, headers: Record<string, string> = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${rig.port}/v1/chat/completions?secret=query`, {
    method: "POST",
    headers,
    body: JSON.stringify(body),
  });
}

/** Attributes as the collector understood them; their types are part of it. */
function told(span: CollectedSpan | undefined): Record<string, unknown> {
  return Object.fromEntries((span?.attributes ?? []).map(({ key, value }) => [key, value]));
}

describe.skipIf(lacksPart("collector"))("OpenTelemetry's own collector", () => {
  test("understands every span of a request, which ends in the trace of its client", async () => {
    await using collector = await startCollector();
    await using rig = await startRig({
      relay: {
        tracing: tracingTo(`${collector.url}/v1/traces`, {
          resource: { "service.name": "ünïcode", "deployment.environment.name": "test" },
        }),
      },
    });
    const traceparent = `00-${TRACE}-${SPAN}-01`;
    const before = Date.now();
    const answer = ask(
      rig,
      { model: "m", stream: true, stream_options: { include_usage: true }, messages: ["a prompt"] },
      { traceparent, tracestate: "rojo=1", "x-request-id": "mine", authorization: "Bearer key" },
    );
    const asked = await rig.backend.next();
    const [, , workerSpan = ""] = (asked.headers["traceparent"] ?? "").split("-");
    asked.head(200, { "content-type": "text/event-stream" });
    const usage = '{"prompt_tokens":30,"completion_tokens":20,"prompt_tokens_details":{"cached_tokens":10}}';
    const events = [
      '{"model":"m-q4","choices":[{"delta":{"content":"an answer"}}]}',
      `{"model":"m-q4","choices":[],"usage":${usage}}`,
      "[DONE]",
    ].map((data) => `data: ${data}\n\n`);
    asked.write(events.join(""));
    asked.end();
    await (await answer).text();
    await rig.relay.drain();
    const { resource, spans } = await collector.batches.next();
    expect(resource).toEqual([
      { key: "service.name", value: { stringValue: "ünïcode" } },
      { key: "deployment.environment.name", value: { stringValue: "test" } },
    ]);
    const [whole, queue, work, first] = spans;
    expect(spans.map(({ name, kind, parentSpanId }) => [name, kind, parentSpanId])).toEqual([
      ["POST /v1/chat/completions", 2, SPAN],
      ["queue", 1, whole?.spanId],
      ["chat m", 3, whole?.spanId],
      ["first byte", 1, workerSpan],
    ]);
    expect(work?.spanId).toBe(workerSpan);
    expect(spans.map(({ traceId, traceState }) => [traceId, traceState])).toEqual(
      Array.from({ length: 4 }, () => [TRACE, "rojo=1"]),
    );
    expect(spans.map(({ flags }) => flags)).toEqual([0x301, 0x101, 0x101, 0x101]);
    expect(spans.map(({ status }) => status)).toEqual([{}, {}, {}, {}]);
    expect(told(whole)).toEqual({
      "http.request.method": { stringValue: "POST" },
      "url.scheme": { stringValue: "http" },
      "url.path": { stringValue: "/v1/chat/completions" },
      "http.route": { stringValue: "/v1/chat/completions" },
      "http.response.status_code": { intValue: "200" },
      "http.request.body.size": { intValue: String(asked.body.length) },
      "http.response.body.size": { intValue: String(events.join("").length) },
      "modelrelay.request.id": { stringValue: "mine" },
      "modelrelay.outcome": { stringValue: "complete" },
      "gen_ai.operation.name": { stringValue: "chat" },
      "gen_ai.provider.name": { stringValue: "openai" },
      "gen_ai.request.model": { stringValue: "m" },
      "gen_ai.request.stream": { boolValue: true },
      "gen_ai.response.time_to_first_chunk": { doubleValue: expect.any(Number) },
      "gen_ai.response.model": { stringValue: "m-q4" },
      "gen_ai.usage.input_tokens": { intValue: "30" },
      "gen_ai.usage.output_tokens": { intValue: "20" },
      "gen_ai.usage.cache_read.input_tokens": { intValue: "10" },
      "modelrelay.worker": { stringValue: "rig" },
    });
    // Each stage lies within the one that it hangs from, and all of them in the time of day.
    const ms = (nanoseconds: string | undefined) => Number(BigInt(nanoseconds ?? 0) / 1_000n) / 1_000;
    const times = (span: CollectedSpan | undefined) => [
      ms(span?.startTimeUnixNano),
      ms(span?.endTimeUnixNano),
    ];
    const [from = 0, to = 0] = times(whole);
    expect(from).toBeGreaterThanOrEqual(before - 1);
    expect(to).toBeLessThanOrEqual(Date.now() + 1);
    const inOrder = [from, ...times(queue), times(work)[0], times(first)[1], times(work)[1], to];
    expect(inOrder).toEqual(inOrder.toSorted((a, b) => Number(a) - Number(b)));
    expect(times(first)[0]).toBe(times(work)[0]);
    // Nothing of what was asked, answered or shown, and not where the backend is.
    expect(JSON.stringify(spans)).not.toMatch(/prompt|answer"|an answer|Bearer|query|127\.0\.0\.1/);
  });

  test("gets what failed as an error, compressed as well, and takes all that is odd in a name", async () => {
    await using collector = await startCollector();
    const tracing = tracingTo(`${collector.url}/v1/traces`, { gzip: true });
    await using rig = await startRig({ relay: { tracing } });
    const failing = ask(rig, { model: "m" });
    (await rig.backend.next()).reset();
    await (await failing).text();
    const odd = `"\\\u0000\ud800${"x".repeat(100)}`;
    await (await ask(rig, { model: odd })).text();
    await rig.relay.drain();
    const { spans } = await collector.batches.next();
    const wholes = spans.filter(({ kind }) => kind === 2);
    expect(wholes.slice(0, 2).map((span) => [span.status, told(span)["error.type"]])).toEqual([
      [{ code: 2 }, { stringValue: "backend_unreachable" }],
      [{}, undefined],
    ]);
    expect(told(wholes[1])["modelrelay.reason"]).toEqual({ stringValue: "model_not_found" });
    // A trace that begins here has its request's id.
    expect(told(wholes[0])["modelrelay.request.id"]).toEqual({
      stringValue: (wholes[0]?.traceId ?? "").replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5"),
    });
  });
});

/** A port that takes connections, and nothing else. */
async function silentPort(): Promise<Disposable & { url: string }> {
  const server = createServer(() => {});
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/traces`,
    [Symbol.dispose]: () => void server.close(),
  };
}

/** Asks as often, 50 at once. @returns how often each status came */
async function relayed(url: string, count: number): Promise<Record<number, number>> {
  const statuses: Record<number, number> = {};
  let left = count;
  const client = async () => {
    while (left-- > 0) {
      const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body: '{"model":"m"}' });
      await response.text();
      statuses[response.status] = (statuses[response.status] ?? 0) + 1;
    }
  };
  await Promise.all(Array.from({ length: 50 }, client));
  return statuses;
}

test("10,000 requests beside a collector that says nothing are all served, and leave no more behind than may wait", async () => {
  await using stack = new AsyncDisposableStack();
  const collector = stack.use(await silentPort());
  const backend = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => Response.json(url.endsWith("/models") ? { data: [{ id: "m" }] } : {}),
  });
  stack.defer(() => backend.stop(true));
  const said: string[] = [];
  const relay = startRelay(
    { ...relayConfig({}), tracing: tracingTo(collector.url) },
    { clock: systemClock, log: { ...silentLog, warn: (message) => said.push(message) } },
  );
  stack.defer(() => relay.stop());
  const joined = Promise.withResolvers<void>();
  const worker = startWorker(
    {
      proxyUrl: relay.url,
      workerSecret: SECRET,
      backendUrl: `http://127.0.0.1:${backend.port}`,
      models: { all: true, names: [] },
      workerName: "test",
      maxConcurrency: 64,
      provider: "local",
      linkVersion: "auto",
      drainTimeoutMs: 30_000,
      firstByteTimeoutMs: 0,
      idleTimeoutMs: 0,
    },
    {
      clock: systemClock,
      log: silentLog,
      onEvent: ({ kind }) => kind === "registered" && joined.resolve(),
    },
  );
  stack.use(worker);
  await joined.promise;
  // By then as many wait as may.
  await relayed(relay.url, MAX_WAITING + 2 * MAX_BATCH);
  Bun.gc(true);
  const before = heapStats();
  expect(await relayed(relay.url, 10_000)).toEqual({ 200: 10_000 });
  Bun.gc(true);
  const after = heapStats();
  // Each request that was kept would be two objects at the least.
  expect(after.objectCount - before.objectCount).toBeLessThan(10_000);
  expect(after.heapSize - before.heapSize).toBeLessThan(4 * 1024 * 1024);
  const began = performance.now();
  await relay.drain();
  // Two seconds for the collector and no more, whatever waits.
  expect(performance.now() - began).toBeLessThan(5_000);
  expect(said).toEqual(["Traces of requests are lost", "Not every trace reached the collector"]);
}, 60_000);
