import { describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import { createRelayApp } from "../../../src/server/index.ts";
import { createMetrics, type Metrics } from "../../../src/server/metrics/index.ts";
import { GONE_AFTER_MS, MAX_WORKER_LABELS } from "../../../src/server/metrics/worker-metrics.ts";
import { Relay } from "../../../src/server/relay.ts";
import { RequestRecord, type Outcome, type TokenUse } from "../../../src/server/request-record.ts";
import type { SessionEvents, WorkerSession } from "../../../src/server/worker-session.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { relayConfig } from "../../support/relays.ts";
import { family, parseSamples, type Samples } from "./samples.ts";

const MANY = 100_000;
const CONNECTION = { address: "127.0.0.1", allowSilence() {}, limitSilence() {}, upgrade: () => false };

interface Ended {
  path?: string;
  method?: string;
  model?: string;
  status?: number;
  outcome?: Outcome;
  reason?: string;
  worker?: string;
  tokens?: TokenUse;
}

interface Rig {
  clock: ManualClock;
  metrics: Metrics;
  joined: (name: string, models?: readonly string[]) => WorkerSession;
  left: (session: WorkerSession) => void;
  ended: (made: Ended) => void;
  samples: () => Promise<Samples>;
}

/** Metrics without a socket: workers come and go, and requests end, by a call each. */
function start(): Rig {
  const clock = new ManualClock();
  const relay = new Relay(relayConfig({}), { clock, log: silentLog, random: () => 0 });
  const metrics = createMetrics({ relay, clock, certificates: () => [] });
  const quiet = () => {};
  const told: SessionEvents = {
    registered: quiet,
    models: quiet,
    load: quiet,
    head: quiet,
    body: quiet,
    end: quiet,
    broken: quiet,
    suspended: quiet,
    resumed: quiet,
    lost: quiet,
  };
  const events = metrics.counting(told);
  let count = 0;
  return {
    clock,
    metrics,
    joined(name, models = []) {
      const session = { id: `w_${++count}`, name, closeCode: 1006 } as WorkerSession;
      const { id } = session;
      relay.core.registry.add({ id, name, provider: "local", models, maxConcurrent: 1, load: 0, carries: 0 });
      events.registered(session, {
        name,
        models: [...models],
        maxConcurrent: 1,
        load: 0,
        protocolVersion: "",
        features: [],
      });
      return session;
    },
    left(session) {
      const worker = relay.core.registry.get(session.id);
      if (worker !== undefined) relay.core.registry.remove(worker);
      events.lost(session);
    },
    ended({ path = "/v1/chat/completions", method = "POST", model = "", ...rest }) {
      const record = new RequestRecord({ id: "i", clientId: "c", method, path }, clock, metrics.ended);
      const { status = 200, outcome = "complete", reason = "", worker, tokens } = rest;
      Object.assign(record, { model, status, worker, tokens, queuedAt: 1, dispatchedAt: 2, firstByteAt: 3 });
      record.settle(outcome, reason);
      record.end();
    },
    samples: async () => parseSamples(await metrics.text("prometheus")),
  };
}

describe("Metrics are bounded", () => {
  test("whatever models, paths, methods and reasons clients invent", async () => {
    const { ended, samples, metrics } = start();
    for (let i = 0; i < MANY; i++) {
      const outcome = (["complete", "refused", "failed", "cancelled"] as const)[i % 4]!;
      const named = { path: `/v1/${i}/x`, method: `M${i}`, model: `model-${i}`, reason: `reason-${i}` };
      ended({ ...named, outcome, status: 200 + (i % 400), worker: `worker-${i}` });
    }
    const text = await metrics.text("prometheus");
    expect(text.length).toBeLessThan(64 * 1024);
    const counted = Object.entries(family(await samples(), "modelrelay_requests_total"));
    expect(counted.reduce((sum, [, value]) => sum + value, 0)).toBe(MANY);
    for (const [series] of counted) expect(series).toContain('model="unknown",path="/v1/*"');
    // A refusal's reasons are the relay's own; a failure's may be a worker's.
    expect(Object.keys(family(await samples(), "modelrelay_refusals_total"))).toHaveLength(61);
    expect(family(await samples(), "modelrelay_failures_total")).toEqual({
      'modelrelay_failures_total{reason="other"}': MANY / 4,
    });
  });

  test("whatever names workers have, and whatever models they offer", async () => {
    const { joined, left, ended, metrics, samples, clock } = start();
    for (let i = 0; i < MANY; i++) {
      const session = joined(`worker-${i}`, [`model-${i}`]);
      ended({
        model: `model-${i}`,
        path: i % 2 === 0 ? "/v1/messages" : "/v1/embeddings",
        worker: `worker-${i}`,
      });
      left(session);
      clock.advance(1);
    }
    expect((await metrics.text("prometheus")).length).toBeLessThan(1024 * 1024);
    const up = Object.keys(family(await samples(), "modelrelay_worker_up"));
    expect(up).toHaveLength(MAX_WORKER_LABELS);
    for (const last of [MANY - 1, MANY - MAX_WORKER_LABELS])
      expect(up).toContain(`modelrelay_worker_up{worker="worker-${last}"}`);
  });

  test("with workers beyond the limit counted together while all are connected", async () => {
    const { joined, samples } = start();
    for (let i = 0; i < MAX_WORKER_LABELS + 7; i++) joined(`worker-${i}`);
    const up = family(await samples(), "modelrelay_worker_up");
    expect(Object.keys(up)).toHaveLength(MAX_WORKER_LABELS + 1);
    expect(up['modelrelay_worker_up{worker="other"}']).toBe(7);
  });

  test("through the front door", async () => {
    const clock = new ManualClock();
    const config = { ...relayConfig({}), openMetrics: true };
    const app = createRelayApp(config, { clock, log: silentLog });
    for (let i = 0; i < 2_000; i++) {
      const body = JSON.stringify({ model: `model-${i}` });
      const request = new Request(`http://relay.test/v1/p${i}`, { method: "POST", body });
      await (await app.request(request, CONNECTION))?.text();
    }
    const answer = await app.request(new Request("http://relay.test/metrics"), CONNECTION);
    const text = (await answer?.text()) ?? "";
    expect(text).toContain('{model="unknown",path="/v1/*",status="404",outcome="refused"} 2000');
    expect(text.length).toBeLessThan(16 * 1024);
    await app.relay.drain(0);
  });
});

describe("Metrics of a model", () => {
  test("are kept by its name while one is offered, and make room when they are many and it is gone", async () => {
    const { joined, left, ended, samples } = start();
    const session = joined(
      "box",
      Array.from({ length: 200 }, (_, i) => `model-${i}`),
    );
    for (let i = 0; i < 200; i++) ended({ model: `model-${i}` });
    const requests = async () => Object.keys(family(await samples(), "modelrelay_requests_total"));
    const before = await requests();
    expect(before).toHaveLength(101);
    expect(before.filter((series) => series.includes('model="other"'))).toHaveLength(1);
    left(session);
    joined("box", ["new"]);
    expect(await requests()).toHaveLength(1);
    ended({ model: "new" });
    expect(await requests()).toContain(
      'modelrelay_requests_total{model="new",path="/v1/chat/completions",status="200",outcome="complete"}',
    );
  });

  test("say how many workers offer it, and that none does any more", async () => {
    const { joined, left, ended, samples } = start();
    const [one] = [joined("a", ["m"]), joined("b", ["m"])];
    ended({ model: "m" });
    const offering = async () => (await samples()).get('modelrelay_model_workers{model="m"}');
    expect(await offering()).toBe(2);
    left(one);
    expect(await offering()).toBe(1);
  });
});

describe("Metrics of a request", () => {
  test("take its times from its record: the wait from when it was read, the rest from when it came", async () => {
    const { joined, metrics, samples, clock } = start();
    joined("box", ["m"]);
    const arrival = { id: "i", clientId: "c", method: "POST", path: "/v1/messages" };
    const record = new RequestRecord(arrival, clock, metrics.ended);
    const came = clock.now();
    const times = { queuedAt: came + 100, dispatchedAt: came + 600, firstByteAt: came + 2_000 };
    Object.assign(record, { model: "m", status: 200, streaming: true, ...times });
    for (const after of [2_000, 2_010, 2_050, 2_060]) record.chunkAt(came + after);
    clock.advance(4_000);
    record.end();
    const seen = await samples();
    const sums = [
      "queue_wait",
      "first_byte",
      "request_duration",
      "stream_mean_gap",
      "stream_longest_gap",
    ].map((name) => seen.get(`modelrelay_${name}_seconds_sum{model="m"}`));
    expect(sums).toEqual([0.5, 2, 4, 0.02, 0.04]);
  });

  test("add up its tokens, apart by whether the backend reported them", async () => {
    const { joined, ended, samples } = start();
    joined("box", ["m"]);
    const tokens = { prompt: 10, completion: 3, cached: 4, estimated: false };
    ended({ model: "m", tokens });
    ended({ model: "m", tokens });
    ended({ model: "m", tokens: { prompt: 7, completion: 1, cached: 0, estimated: true } });
    ended({ model: "m" });
    const seen = await samples();
    expect({
      ...family(seen, "modelrelay_prompt_tokens_total"),
      ...family(seen, "modelrelay_completion_tokens_total"),
      ...family(seen, "modelrelay_cached_tokens_total"),
    }).toEqual({
      'modelrelay_prompt_tokens_total{model="m",source="reported"}': 20,
      'modelrelay_prompt_tokens_total{model="m",source="estimated"}': 7,
      'modelrelay_completion_tokens_total{model="m",source="reported"}': 6,
      'modelrelay_completion_tokens_total{model="m",source="estimated"}': 1,
      'modelrelay_cached_tokens_total{model="m",source="reported"}': 8,
    });
  });

  test("give a status that is seldom as its class", async () => {
    const { ended, samples } = start();
    for (const status of [418, 451, 404, 599]) ended({ status });
    const statuses = Object.entries(family(await samples(), "modelrelay_requests_total")).map(
      ([series, count]) => [/status="(\w+)"/.exec(series)?.[1], count],
    );
    expect(statuses).toEqual([
      ["4xx", 2],
      ["404", 1],
      ["5xx", 1],
    ]);
  });
});

describe("Metrics of a worker", () => {
  test("are added up for workers of one name", async () => {
    const { joined, left, samples } = start();
    const first = joined("twin");
    joined("twin");
    const values = async () => {
      const seen = await samples();
      return ["up", "capacity", "joins_total", "losses_total"].map((name) =>
        seen.get(`modelrelay_worker_${name}{worker="twin"}`),
      );
    };
    expect(await values()).toEqual([2, 2, 2, 0]);
    left(first);
    expect(await values()).toEqual([1, 1, 2, 1]);
  });

  test("stay for an hour after it has gone, and are then forgotten", async () => {
    const { joined, left, samples, clock } = start();
    left(joined("box"));
    clock.advance(GONE_AFTER_MS);
    expect((await samples()).get('modelrelay_worker_up{worker="box"}')).toBe(0);
    clock.advance(1);
    expect((await samples()).has('modelrelay_worker_up{worker="box"}')).toBe(false);
  });

  test("do not count one that says goodbye as lost", async () => {
    const { joined, left, samples } = start();
    left(Object.assign(joined("box"), { closeCode: 1000 }));
    expect((await samples()).get('modelrelay_worker_losses_total{worker="box"}')).toBe(0);
  });
});
