import { describe, expect, test } from "bun:test";
import { MAX_REQUEUES, RelayCore } from "../../../src/server/core/relay-core.ts";
import type { CoreEffect, CoreSettings, JoiningWorker } from "../../../src/server/core/types.ts";

/** A core with a time that stands still until told otherwise. */
function start(settings: Partial<CoreSettings> = {}) {
  const core = new RelayCore(
    { provider: "local", maxQueueLength: 10, queueTimeoutMs: 30_000, requestTimeoutMs: 300_000, ...settings },
    () => 0.5,
  );
  let now = 1_000;
  const on = (event: Parameters<RelayCore["handle"]>[0]) => core.handle(event, now);
  return {
    core,
    pass: (ms: number) => (now += ms),
    tick: () => on({ type: "tick" }),
    on,
    join: (id: string, models: string[], more: Partial<JoiningWorker> = {}) =>
      on({
        type: "worker_joined",
        worker: { id, name: id, provider: "local", models, maxConcurrent: 1, load: 0, carries: 0, ...more },
      }),
    ask: (id: string, model: string | undefined = "m", needs = 0) =>
      on({ type: "request_arrived", request: { id, model, needs, sender: "s", priority: "normal" } }),
    begin: (id: string) => on({ type: "response_started", requestId: id }),
    end: (id: string, ok = true) => on({ type: "response_ended", requestId: id, ok }),
    leave: (id: string) => on({ type: "client_gone", requestId: id, reason: "client_disconnect" }),
    lose: (id: string) => on({ type: "worker_lost", workerId: id }),
    deadlineIn: () => {
      const deadline = core.nextDeadline(now);
      return deadline === undefined ? undefined : deadline - now;
    },
  };
}

const dispatch = (requestId: string, workerId: string): CoreEffect => ({
  type: "dispatch",
  requestId,
  workerId,
});
const refusal = (effects: readonly CoreEffect[]) =>
  effects.map((effect) => (effect.type === "refuse" ? effect.refusal.code : effect.type));

describe("Scheduler", () => {
  test("picks the least loaded worker that offers the model", () => {
    const relay = start();
    relay.join("busy", ["m"], { maxConcurrent: 4, load: 2 });
    relay.join("other", ["n"], { maxConcurrent: 4 });
    relay.join("free", ["m"], { maxConcurrent: 4, load: 1 });
    expect(relay.ask("r1")).toEqual([dispatch("r1", "free")]);
  });

  test("breaks ties in turn", () => {
    const relay = start();
    for (const id of ["a", "b", "c"]) relay.join(id, ["m"], { maxConcurrent: 2 });
    const turns = [1, 2, 3, 4, 5, 6].map((n) => relay.ask(`r${n}`)[0]);
    expect(turns.map((effect) => (effect?.type === "dispatch" ? effect.workerId : ""))).toEqual([
      "a",
      "b",
      "c",
      "a",
      "b",
      "c",
    ]);
  });

  test("matches the model's name exactly", () => {
    const relay = start();
    relay.join("w", ["llama3.1:8b"]);
    expect(refusal(relay.ask("r1", "llama3.1"))).toEqual(["model_not_found"]);
  });

  test("never goes above a worker's concurrency, its reported load included", () => {
    const relay = start();
    relay.join("w", ["m"], { maxConcurrent: 2, load: 1 });
    expect(relay.ask("r1")).toEqual([dispatch("r1", "w")]);
    expect(relay.ask("r2")).toEqual([]);
    expect(relay.on({ type: "worker_load", workerId: "w", load: 1 })).toEqual([dispatch("r2", "w")]);
  });

  test("never gives a draining worker new work", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.on({ type: "worker_draining", workerId: "w" });
    expect(relay.ask("r1")).toEqual([]);
    expect(relay.core.queueLength).toBe(1);
  });

  test("gives a request without a model to any worker", () => {
    const relay = start();
    relay.join("w", ["m"]);
    expect(relay.ask("r1", undefined)).toEqual([dispatch("r1", "w")]);
  });

  test("passes over a worker whose link cannot carry the request", () => {
    const relay = start();
    relay.join("text", ["m"]);
    expect(refusal(relay.ask("r1", "m", 2))).toEqual(["link_cannot_carry"]);
    relay.join("bytes", ["m"], { carries: 3, load: 0, maxConcurrent: 5 });
    expect(relay.ask("r2", "m", 2)).toEqual([dispatch("r2", "bytes")]);
  });

  test("ignores workers of another provider", () => {
    const relay = start();
    relay.join("w", ["m"], { provider: "elsewhere" });
    expect(refusal(relay.ask("r1"))).toEqual(["model_not_found"]);
  });

  test("lets a worker rest after three failures in a row, while another serves", () => {
    const relay = start();
    relay.join("bad", ["m"]);
    for (const id of ["r1", "r2", "r3"]) {
      expect(relay.ask(id)).toEqual([dispatch(id, "bad")]);
      relay.end(id, false);
    }
    relay.join("good", ["m"], { load: 0 });
    expect(relay.ask("r4")).toEqual([dispatch("r4", "good")]);
    expect(relay.ask("r5")).toEqual([]);
    expect(relay.deadlineIn()).toBeLessThanOrEqual(1_000);
    relay.pass(1_000);
    expect(relay.tick()).toEqual([dispatch("r5", "bad")]);
  });

  test("uses a resting worker when nobody else offers the model", () => {
    const relay = start();
    relay.join("bad", ["m"]);
    for (const id of ["r1", "r2", "r3"]) {
      relay.ask(id);
      relay.end(id, false);
    }
    expect(relay.ask("r4")).toEqual([dispatch("r4", "bad")]);
  });

  test("turns to a resting worker once the last one that was awake is lost", () => {
    const relay = start();
    relay.join("bad", ["m"]);
    for (const id of ["r1", "r2", "r3"]) {
      relay.ask(id);
      relay.end(id, false);
    }
    relay.join("good", ["m"]);
    relay.ask("r4");
    expect(relay.ask("r5")).toEqual([]);
    expect(relay.lose("good")).toEqual([dispatch("r4", "bad")]);
    expect(relay.end("r4")).toEqual([dispatch("r5", "bad")]);
  });

  test("counts a failure only when no success lies between", () => {
    const relay = start();
    relay.join("bad", ["m"]);
    relay.join("good", ["m"], { load: 0, maxConcurrent: 1 });
    for (const [id, ok] of [
      ["r1", false],
      ["r2", true],
      ["r3", false],
      ["r4", true],
    ] as const) {
      relay.ask(id);
      relay.end(id, ok);
    }
    expect([...relay.core.registry.values()].map((worker) => worker.restUntil)).toEqual([0, 0]);
  });
});

describe("Queue", () => {
  test("serves in order of arrival among the requests that the freed worker can serve", () => {
    const relay = start();
    relay.join("w", ["m", "n"]);
    relay.ask("r0", "m");
    relay.join("x", ["o"]);
    relay.ask("rx", "o");
    relay.ask("r1", "o");
    relay.ask("r2", "n");
    relay.ask("r3", "m");
    expect(relay.end("r0")).toEqual([dispatch("r2", "w")]);
    expect(relay.end("r2")).toEqual([dispatch("r3", "w")]);
    expect(relay.end("rx")).toEqual([dispatch("r1", "x")]);
  });

  test("refuses the request after the limit with queue_full", () => {
    const relay = start({ maxQueueLength: 1 });
    relay.join("w", ["m"]);
    relay.ask("r1");
    expect(relay.ask("r2")).toEqual([]);
    expect(relay.ask("r3")).toEqual([
      { type: "refuse", requestId: "r3", refusal: { code: "queue_full", limit: 1 } },
    ]);
  });

  test("refuses a request that has waited its whole queue time", () => {
    const relay = start({ queueTimeoutMs: 500 });
    relay.join("w", ["m"]);
    relay.ask("r1");
    relay.ask("r2");
    expect(relay.deadlineIn()).toBe(500);
    relay.pass(499);
    expect(relay.tick()).toEqual([]);
    relay.pass(1);
    expect(refusal(relay.tick())).toEqual(["queue_timeout"]);
    expect(relay.core.queueLength).toBe(0);
  });

  test("keeps the first arrival and the time already waited when a request is requeued", () => {
    const relay = start({ queueTimeoutMs: 500 });
    relay.join("w", ["m"]);
    relay.ask("r0");
    relay.ask("early");
    relay.pass(300);
    relay.end("r0");
    relay.ask("late");
    relay.pass(50);
    relay.lose("w");
    expect(relay.deadlineIn()).toBe(200);
    expect(relay.join("w2", ["m"])).toEqual([dispatch("early", "w2")]);
  });

  test("waits for a model whose worker is away for the moment", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.lose("w");
    expect(relay.ask("r1")).toEqual([]);
    expect(relay.join("w2", ["m"])).toEqual([dispatch("r1", "w2")]);
  });

  test("lets a client that leaves disappear without a word to any worker", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.ask("r1");
    relay.ask("r2");
    expect(relay.leave("r2")).toEqual([]);
    expect(relay.end("r1")).toEqual([]);
  });

  test("gives a model that a worker newly offers to those who wait for it", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.lose("w");
    relay.ask("r1", "m");
    relay.join("x", ["n"]);
    expect(relay.on({ type: "worker_models", workerId: "x", models: ["m"], load: 0 })).toEqual([
      dispatch("r1", "x"),
    ]);
  });
});

describe("Relay", () => {
  test("requeues a request whose worker vanished before the first byte, at most 3 times", () => {
    const relay = start();
    relay.join("w0", ["m"]);
    relay.ask("r1");
    for (let loss = 1; loss <= MAX_REQUEUES; loss++) {
      expect(relay.lose(`w${loss - 1}`)).toEqual([]);
      expect(relay.join(`w${loss}`, ["m"])).toEqual([dispatch("r1", `w${loss}`)]);
    }
    expect(relay.lose(`w${MAX_REQUEUES}`)).toEqual([
      { type: "refuse", requestId: "r1", refusal: { code: "worker_lost", times: MAX_REQUEUES + 1 } },
    ]);
    expect(relay.core.requestCount).toBe(0);
  });

  test("hands a lost worker's request to another at once, even when the queue is full", () => {
    const relay = start({ maxQueueLength: 0 });
    relay.join("a", ["m"]);
    relay.ask("r1");
    relay.lose("a");
    expect(relay.core.queueLength).toBe(1);
    expect(relay.join("b", ["m"])).toEqual([dispatch("r1", "b")]);
  });

  test("does not run a request again after its first byte", () => {
    const relay = start();
    relay.join("a", ["m"]);
    relay.join("b", ["m"]);
    relay.ask("r1");
    relay.begin("r1");
    expect(refusal(relay.lose("a"))).toEqual(["stream_lost"]);
  });

  test("cancels the worker's job when the client leaves, and uses the slot at once", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.ask("r1");
    relay.ask("r2");
    expect(relay.leave("r1")).toEqual([
      { type: "cancel", requestId: "r1", workerId: "w", reason: "client_disconnect" },
      dispatch("r2", "w"),
    ]);
  });

  test("tolerates the late end of a request that it has let go", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.ask("r1");
    relay.leave("r1");
    expect(relay.end("r1")).toEqual([]);
    expect(relay.ask("r2")).toEqual([dispatch("r2", "w")]);
  });

  test("ends a request that is over its whole time, wherever it is", () => {
    const relay = start({ requestTimeoutMs: 1_000, queueTimeoutMs: 5_000 });
    relay.join("w", ["m"]);
    relay.ask("running");
    relay.begin("running");
    relay.ask("queued");
    relay.pass(1_000);
    expect(relay.tick()).toEqual([
      { type: "refuse", requestId: "queued", refusal: { code: "request_timeout", afterMs: 1_000 } },
      { type: "cancel", requestId: "running", workerId: "w", reason: "timeout" },
      { type: "refuse", requestId: "running", refusal: { code: "request_timeout", afterMs: 1_000 } },
    ]);
  });

  test("has no deadline when nothing can run out", () => {
    const relay = start({ requestTimeoutMs: 0 });
    relay.join("w", ["m"]);
    relay.ask("r1");
    expect(relay.deadlineIn()).toBeUndefined();
  });

  test("names what is offered when a model never was", () => {
    const relay = start();
    relay.join("w", ["b", "a"]);
    expect(relay.ask("r1", "x")).toEqual([
      {
        type: "refuse",
        requestId: "r1",
        refusal: { code: "model_not_found", model: "x", offered: ["a", "b"] },
      },
    ]);
  });

  test("while draining refuses what waits and what arrives, and lets what runs finish", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.ask("running");
    relay.ask("queued");
    expect(refusal(relay.on({ type: "relay_draining" }))).toEqual(["draining"]);
    expect(refusal(relay.ask("late"))).toEqual(["draining"]);
    expect(relay.core.requestCount).toBe(1);
    expect(relay.end("running")).toEqual([]);
    expect(relay.core.requestCount).toBe(0);
  });

  test("takes new limits for requests that already wait", () => {
    const relay = start();
    relay.join("w", ["m"]);
    relay.ask("r1");
    relay.ask("r2");
    relay.core.configure({ maxQueueLength: 10, queueTimeoutMs: 100, requestTimeoutMs: 0 });
    relay.pass(100);
    expect(refusal(relay.tick())).toEqual(["queue_timeout"]);
  });

  test("forgets everything: a thousand requests of every fate leave no trace", () => {
    const relay = start({ maxQueueLength: 1_000 });
    let random = 1;
    const next = (below: number) => (random = (random * 48_271) % 2_147_483_647) % below;
    let workers = 0;
    const alive: string[] = [];
    for (let n = 0; n < 1_000; n++) {
      if (alive.length === 0 || next(10) === 0) {
        alive.push(`w${workers}`);
        relay.join(`w${workers++}`, ["m"], { maxConcurrent: 1 + next(4) });
      }
      relay.ask(`r${n}`);
      const fate = next(5);
      const victim = `r${next(n + 1)}`;
      if (fate === 0) relay.leave(victim);
      if (fate === 1) relay.end(victim, next(2) === 0);
      if (fate === 2) relay.begin(victim);
      if (fate === 3) relay.lose(alive.splice(next(alive.length), 1)[0] ?? "");
      for (const worker of relay.core.registry.values()) {
        expect(worker.held.size).toBeLessThanOrEqual(worker.maxConcurrent);
      }
    }
    for (let n = 0; n < 1_000; n++) relay.leave(`r${n}`);
    const held = [...relay.core.registry.values()].map((worker) => worker.held.size);
    expect({
      requests: relay.core.requestCount,
      queued: relay.core.queueLength,
      held: held.filter((n) => n > 0),
    }).toEqual({
      requests: 0,
      queued: 0,
      held: [],
    });
  });
});
