import { describe, expect, test } from "bun:test";
import { checkWorker } from "../../src/worker/check.ts";
import { systemClock } from "../../src/base/clock.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { SECRET, startFakeRelay } from "./fake-relay.ts";
import { startTestWorker } from "./started-worker.ts";

const CHAT = { model: "tiny", messages: [] };

describe("Worker", () => {
  test("registers with its name, models, limit and provider, and says its models once more", async () => {
    await using backend = await startFakeBackend(["a", "b"]);
    await using relay = startFakeRelay();
    await using started = startTestWorker({ url: `${relay.url}/base/` }, backend, {
      provider: "gpu box",
      maxConcurrency: 7,
    });
    const link = await relay.nextLink();
    expect(`${link.url.pathname}${link.url.search}`).toBe("/base/v1/worker/connect?provider=gpu+box");
    expect(await link.accept()).toMatchObject({
      worker_name: "test",
      models: ["a", "b"],
      max_concurrent: 7,
      current_load: 0,
      protocol_version: "2026-04-bridge-v1",
    });
    expect(await link.next("models_update")).toEqual({
      type: "models_update",
      models: ["a", "b"],
      current_load: 0,
    });
    expect(await started.next("registered")).toMatchObject({ workerId: "w1", models: ["a", "b"] });
    expect(started.worker.status()).toMatchObject({
      state: "ready",
      workerId: "w1",
      load: 0,
      backend: { up: true },
    });
  });

  test("never serves a model that the acknowledgement left out", async () => {
    await using backend = await startFakeBackend(["a", "b"]);
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept({ models: ["a"], warnings: ["b is one too many"] });
    await started.next("registered");
    link.request("r1", { ...CHAT, model: "b" });
    expect((await link.next("response_complete", "r1"))["status_code"]).toBe(404);
    expect(started.lines).toContain("warn The relay says: b is one too many");
  });

  test("dials again when the link is cut, and gives up what ran on it", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const first = await relay.nextLink();
    await first.accept();
    first.request("r1", CHAT);
    const exchange = await backend.next();
    first.cut();
    await exchange.closed;
    expect(await started.next("disconnected")).toMatchObject({ code: 1006 });
    const second = await relay.nextLink();
    expect((await second.accept())["current_load"]).toBe(0);
  });

  test("says a refused secret once and retries it slowly", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, { workerSecret: "wrong" }, { clock });
    expect((await started.next("failed")).failure).toEqual({ kind: "unauthorised", how: "HTTP 401" });
    expect(clock.pending).toEqual([30_000, 30_000]);
    clock.advance(30_000);
    await started.next("failed");
    expect(started.lines.filter((line) => /^(error|warn|info)/.test(line))).toEqual([
      "error The relay refused the worker secret (HTTP 401); trying again every 30 to 60 s → Start the worker with the secret that the relay was started with (--worker-secret)",
    ]);
    expect(started.lines.join()).not.toContain("wrong");
    relay.secret = "wrong";
    clock.advance(30_000);
    await (await relay.nextLink()).accept();
    await started.next("registered");
  });

  test("knows a refused secret by close code 1008 too, as long as nothing was acknowledged", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, {}, { clock });
    const first = await relay.nextLink();
    await first.next("register");
    first.close(1008, "authentication failed");
    expect((await started.next("failed")).failure).toEqual({ kind: "unauthorised", how: "close code 1008" });
    expect(clock.pending).toContain(30_000);
    expect(started.lines.join("\n")).toContain("refused the worker secret (close code 1008)");
    clock.advance(30_000);
    const second = await relay.nextLink();
    await second.accept();
    await started.next("registered");
    second.close(1008, "policy");
    expect(await started.next("disconnected")).toMatchObject({ code: 1008 });
  });

  test("obeys Retry-After", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    relay.refusal = () => new Response("slow down", { status: 429, headers: { "retry-after": "7" } });
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, {}, { clock });
    expect((await started.next("failed")).failure).toEqual({ kind: "throttled", retryAfterMs: 7_000 });
    expect(clock.pending).toContain(7_000);
  });

  test("says what is wrong when the address is no relay's, or nothing listens there", async () => {
    await using backend = await startFakeBackend();
    const relay = startFakeRelay();
    relay.refusal = () => new Response("?", { status: 404 });
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, {}, { clock });
    await started.next("failed");
    expect(started.lines.join("\n")).toContain("this is not a modelrelay relay, or a proxy in between");
    await relay[Symbol.asyncDispose]();
    clock.advance(1_000);
    expect((await started.next("failed")).failure.kind).toBe("unreachable");
    expect(started.lines.join("\n")).toContain("nothing listens there (connection refused)");
  });

  test("ends a link on which the relay has been silent for 45 s, and dials again", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, {}, { clock });
    const link = await relay.nextLink();
    await link.accept();
    await started.next("registered");
    clock.advance(40_000);
    link.say({ type: "ping" });
    await link.next("pong");
    clock.advance(44_999);
    expect(started.worker.status().state).toBe("ready");
    clock.advance(1);
    expect(await started.next("disconnected")).toMatchObject({ code: 4000 });
    await link.closed;
    clock.advance(30_000);
    await (await relay.nextLink()).accept();
    await started.next("registered");
  });

  test("gives up a relay that does not acknowledge within 10 s", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, {}, { clock });
    const link = await relay.nextLink();
    await link.next("register");
    clock.advance(10_000);
    expect((await started.next("failed")).failure).toEqual({ kind: "silent" });
    await link.closed;
  });

  test("ends the link with 1002 when the relay speaks nonsense, and dials again", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept();
    link.say({ type: "something_new", field: 1 });
    link.raw("{nonsense");
    expect((await link.closed).code).toBe(1002);
    await started.next("disconnected");
    await (await relay.nextLink()).accept();
  });

  test("keeps its link while its backend is down, and offers the models again when it is back", async () => {
    const backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, {}, { clock });
    const link = await relay.nextLink();
    await link.accept();
    await link.next("models_update");
    await backend.stop();
    link.request("r1", CHAT);
    expect((await link.next("response_complete", "r1"))["status_code"]).toBe(502);
    expect(await link.next("models_update")).toMatchObject({ models: [] });
    await started.offers([]);
    await using again = await startFakeBackend(["tiny", "more"], backend.port);
    clock.advance(2_000);
    expect(await link.next("models_update")).toMatchObject({ models: ["tiny", "more"] });
    link.request("r2", CHAT);
    (await again.next()).answer(200, {});
    expect((await link.next("response_complete", "r2"))["status_code"]).toBe(200);
  });

  test("registers without models when its backend is not there yet", async () => {
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, { url: "http://127.0.0.1:1" });
    const link = await relay.nextLink();
    expect((await link.accept())["models"]).toEqual([]);
    expect(started.lines[0]).toContain("its models are out of service until it answers");
  });

  test("looks at the backend when the relay asks for fresh models", async () => {
    await using backend = await startFakeBackend(["a"]);
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept();
    await link.next("models_update");
    backend.models = ["b"];
    link.say({ type: "models_refresh" });
    expect(await link.next("models_update")).toMatchObject({ models: ["b"] });
    await started.offers(["b"]);
  });

  test("answers the relay's wish for fresh models even when they are the same", async () => {
    await using backend = await startFakeBackend(["a"]);
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept();
    await link.next("models_update");
    for (let n = 0; n < 2; n++) {
      link.say({ type: "models_refresh" });
      expect(await link.next("models_update")).toEqual({
        type: "models_update",
        models: ["a"],
        current_load: 0,
      });
    }
    expect(started.worker.status().models).toEqual(["a"]);
  });

  test("drains: offers nothing, finishes what runs, and leaves with 1000; asking twice is asking once", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept();
    await link.next("models_update");
    link.request("r1", CHAT);
    const exchange = await backend.next();
    const drained = started.worker.drain();
    expect(started.worker.drain()).toBe(drained);
    expect(await link.next("models_update")).toMatchObject({ models: [], current_load: 1 });
    exchange.answer(200, { done: true });
    expect(await link.next("response_complete", "r1")).toMatchObject({
      status_code: 200,
      body: '{"done":true}',
    });
    expect(await link.closed).toMatchObject({ code: 1000 });
    await drained;
    expect(await started.worker.closed).toEqual({ code: 0 });
  });

  test("breaks running requests off when the time to drain is over", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const clock = new ManualClock();
    await using started = startTestWorker(relay, backend, { drainTimeoutMs: 5_000 }, { clock });
    const link = await relay.nextLink();
    await link.accept();
    link.request("r1", CHAT);
    const exchange = await backend.next();
    const drained = started.worker.drain();
    clock.advance(5_000);
    expect((await link.next("response_complete", "r1"))["status_code"]).toBe(503);
    await exchange.closed;
    await drained;
  });

  test("breaks off in time for its last words when the relay gives it a time to leave", async () => {
    for (const [given, taken] of [
      [20, 19_000],
      [2, 1_600],
      [60, 30_000],
    ] as const) {
      await using backend = await startFakeBackend();
      await using relay = startFakeRelay();
      const clock = new ManualClock();
      await using started = startTestWorker(relay, backend, {}, { clock });
      const link = await relay.nextLink();
      await link.accept();
      await link.next("models_update");
      link.request("r1", CHAT);
      const exchange = await backend.next();
      link.say({ type: "graceful_shutdown", drain_timeout_secs: given });
      expect(await link.next("models_update")).toMatchObject({ models: [] });
      clock.advance(taken - 1);
      expect(started.worker.status().load).toBe(1);
      clock.advance(1);
      expect((await link.next("response_complete", "r1"))["status_code"]).toBe(503);
      await exchange.closed;
    }
  });

  test("finishes and comes back when the relay asks it to leave", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    await using started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept();
    link.request("r1", CHAT);
    const exchange = await backend.next();
    link.say({ type: "graceful_shutdown", drain_timeout_secs: 20 });
    exchange.answer(200, {});
    expect((await link.next("response_complete", "r1"))["status_code"]).toBe(200);
    expect((await link.closed).code).toBe(1000);
    await (await relay.nextLink()).accept();
    await started.next("registered");
  });

  test("stops at once, with code 1", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const started = startTestWorker(relay, backend);
    const link = await relay.nextLink();
    await link.accept();
    link.request("r1", CHAT);
    const exchange = await backend.next();
    started.worker.stop();
    expect(await started.worker.closed).toEqual({ code: 1 });
    await Promise.all([exchange.closed, link.closed]);
  });
});

describe("Worker check", () => {
  const config = (relay: { url: string }, backend: { url: string }) => ({
    proxyUrl: relay.url,
    workerSecret: SECRET,
    backendUrl: backend.url,
    models: { all: true, names: [] },
    workerName: "test",
    maxConcurrency: 1,
    provider: "local",
    linkVersion: "v1" as const,
    drainTimeoutMs: 1_000,
    firstByteTimeoutMs: 0,
    idleTimeoutMs: 0,
  });

  test("passes each step from the name to the first token, and registers without a model", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const checked = checkWorker(config(relay, backend), { clock: systemClock });
    const probe = await relay.nextLink();
    const link = await relay.nextLink();
    expect(await link.accept()).toMatchObject({
      worker_name: "test (check)",
      models: [],
      protocol_version: "2026-04-bridge-v1",
    });
    const exchange = await backend.next();
    expect(exchange.json()).toMatchObject({ model: "tiny", max_tokens: 1 });
    exchange.answer(200, { choices: [] });
    const results = await checked;
    expect(results.map(({ step, ok }) => [step, ok])).toEqual([
      ["name resolves", true],
      ["relay reachable", true],
      ["certificate trusted", undefined],
      ["secret accepted", true],
      ["backend up", true],
      ["models found", true],
      ["one token generated", true],
    ]);
    await Promise.all([probe.closed, link.closed]);
    expect(probe.inbox.items).toEqual([]);
    expect(link.inbox.items).toEqual([]);
  });

  test("finds a wrong secret at a relay that lets everybody connect first", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const checked = checkWorker(config(relay, backend), { clock: systemClock });
    await relay.nextLink();
    (await relay.nextLink()).close(1008, "authentication failed");
    (await backend.next()).answer(200, { choices: [] });
    expect((await checked).filter(({ ok }) => ok === false)).toMatchObject([
      { step: "secret accepted", details: expect.stringContaining("close code 1008") },
    ]);
  });

  test("says what to do about a wrong secret, and does not try what cannot work", async () => {
    await using relay = startFakeRelay();
    const wrong = { ...config(relay, { url: "http://127.0.0.1:1" }), workerSecret: "wrong" };
    const results = await checkWorker(wrong, { clock: systemClock });
    expect(
      results.filter(({ ok }) => ok === false).map(({ step, action }) => [step, action !== undefined]),
    ).toEqual([
      ["secret accepted", true],
      ["backend up", true],
    ]);
    expect(results.slice(-2).map(({ ok, details }) => [ok, details])).toEqual([
      [undefined, "not tried, since a step before it failed"],
      [undefined, "not tried, since a step before it failed"],
    ]);
  });
});
