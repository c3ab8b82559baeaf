import { expect } from "bun:test";
import {
  chat,
  expectError,
  healthShows,
  readyWorker,
  type ContractPromise,
  PLAIN_STREAM,
} from "./promise.ts";

type Health = {
  workers_connected: number;
  queue_depth: number;
  workers: { in_flight: number; models: string[]; load: number }[];
};

/** What a worker may rely on, and what the relay does when a worker is lost. */
export const linkPromises: ContractPromise[] = [
  {
    title: "accepts a registration: trims, drops empty and repeated names, caps, and says so",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await relay.worker();
      const ack = await worker.register([" a ", "", "b", "a", "b"]);
      expect(ack).toEqual({
        type: "register_ack",
        worker_id: expect.any(String),
        models: ["a", "b"],
        warnings: [
          "trimmed white space around 1 model name",
          "left out 1 empty model name",
          "left out 2 repeated model names",
        ],
        protocol_version: worker.version === "v1" ? "2026-04-bridge-v1" : "modelrelay.v2",
        ...(worker.version === "v2" && {
          session: expect.stringMatching(/^[\w-]{32}$/),
          grace_ms: 15_000,
          window: 256 * 1024,
        }),
      });
    },
  },
  {
    title: "caps 10,000 models and serves those that it accepted",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await relay.worker();
      const ack = await worker.register(Array.from({ length: 10_000 }, (_, n) => `m${n}`));
      expect((ack["models"] as string[]).length).toBe(1_000);
      expect(ack["warnings"]).toEqual(["left out 9000 models: a worker may offer 1000"]);
      const answer = chat(relay, { model: "m999" });
      worker.complete(await worker.next("request"), 200, "{}");
      expect((await answer).status).toBe(200);
      await expectError(await chat(relay, { model: "m1000" }), 404, "model_not_found");
    },
  },
  {
    title: "takes a worker without a version or with unknown fields as v1, and refuses another major version",
    link: "v1",
    async keep(kind) {
      await using relay = await kind.start();
      const old = await relay.worker();
      old.say({
        type: "register",
        worker_name: "old",
        models: ["m"],
        max_concurrent: 1,
        shiny: { new: true },
      });
      expect(await old.next("register_ack")).toMatchObject({ models: ["m"] });
      const future = await relay.worker();
      future.say({
        type: "register",
        worker_name: "future",
        models: ["m"],
        max_concurrent: 1,
        protocol_version: "2031-01-bridge-v9",
      });
      expect(await future.closed).toEqual({
        code: 4001,
        reason: 'Cannot speak "2031-01-bridge-v9": this relay speaks 2026-04-bridge-v1',
      });
    },
  },
  {
    title: "warns a worker of another provider, and gives it nothing",
    async keep(kind) {
      await using relay = await kind.start({ provider: "lab" });
      const worker = await relay.worker("?provider=home");
      const ack = await worker.register(["m"]);
      expect(ack["warnings"]).toEqual([
        'this relay serves provider "lab": a worker of provider "home" gets no requests',
      ]);
      await expectError(await chat(relay), 404, "model_not_found");
    },
  },
  {
    title: "never gives a worker more than it can take",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay, { max_concurrent: 2 });
      const answers = [1, 2, 3, 4, 5].map(() => chat(relay));
      await healthShows<Health>(relay, (health) => health.queue_depth === 3);
      for (let n = 0; n < 5; n++) {
        const request = await worker.next("request");
        const { workers } = await healthShows<Health>(relay, () => true);
        expect(workers[0]?.in_flight).toBeLessThanOrEqual(2);
        worker.complete(request, 200, "{}");
      }
      for (const answer of answers) expect((await answer).status).toBe(200);
    },
  },
  {
    title: "hands a request to the next worker when one vanished before the first byte",
    async keep(kind) {
      await using relay = await kind.start({ linkGraceMs: 0 });
      const first = await readyWorker(relay);
      const answer = chat(relay);
      await first.next("request");
      first.cut();
      const second = await readyWorker(relay);
      {
        const request = await second.next("request");
        second.complete(request, 200, '"second"');
      }
      expect(await (await answer).text()).toBe('"second"');
    },
  },
  {
    title: "gives a request up after the fourth lost worker",
    async keep(kind) {
      await using relay = await kind.start({ linkGraceMs: 0 });
      const answer = (async () => {
        await healthShows<Health>(relay, (health) => health.workers_connected === 1);
        return chat(relay);
      })();
      for (let n = 0; n < 4; n++) {
        const worker = await readyWorker(relay);
        await worker.next("request");
        worker.cut();
        await healthShows<Health>(relay, (health) => health.workers_connected === 0);
      }
      await expectError(await answer, 503, "worker_lost");
    },
  },
  {
    title: "ends a stream whose worker vanished with an error event, and runs it nowhere else",
    async keep(kind) {
      await using relay = await kind.start({ linkGraceMs: 0 });
      const first = await readyWorker(relay);
      const answer = chat(relay, { stream: true });
      first.chunk(await first.next("request"), "data: 1\n\n");
      const response = await answer;
      const second = await readyWorker(relay);
      first.cut();
      const text = await response.text();
      expect(text).toStartWith('data: 1\n\ndata: {"error":');
      expect(text).toContain('"code":"worker_lost"');
      expect(text).not.toContain("[DONE]");
      expect(second.inbox.items.filter((message) => message.type === "request")).toEqual([]);
    },
  },
  {
    title: "ends a stream whose worker reports a failure with an error event",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(relay, PLAIN_STREAM);
      const request = await worker.next("request");
      worker.chunk(request, 'data: {"ha');
      const response = await answer;
      worker.complete(request, 502, "the backend died");
      const text = await response.text();
      expect(text).toStartWith('data: {"ha\n\ndata: {"error":');
      expect(text).not.toContain("[DONE]");
    },
  },
  {
    title: "gives a client the status of an error that an older worker sent as a stream",
    link: "v1",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(relay, PLAIN_STREAM);
      const request = await worker.next("request");
      worker.chunk(request, '{"error":');
      worker.chunk(request, '"too long"}');
      worker.complete(request, 400, "");
      const response = await answer;
      expect([response.status, response.headers.get("content-type"), await response.text()]).toEqual([
        400,
        "application/json",
        '{"error":"too long"}',
      ]);
    },
  },
  {
    title: "turns a worker's error message into 502, and keeps the link",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(relay);
      const request = await worker.next("request");
      worker.say({
        type: "error",
        request_id: request["request_id"],
        code: "boom",
        message: "backend refused",
      });
      const response = await answer;
      expect(response.headers.get("x-modelrelay-error")).toBe("worker");
      expect((await expectError(response, 502, "backend_unreachable")).message).toBe("backend refused");
      const next = chat(relay);
      worker.complete(await worker.next("request"), 200, "{}");
      expect((await next).status).toBe(200);
    },
  },
  {
    title: "frees the slot of a cancelled request at once, and bears its late chunks and completion",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const client = new AbortController();
      const gone = chat(relay, { stream: true }, { signal: client.signal });
      const request = await worker.next("request");
      worker.chunk(request, "data: 1\n\n");
      const reader = ((await gone).body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      client.abort();
      await reader.cancel().catch(() => {});
      await worker.next("cancel");
      const answer = chat(relay);
      const second = await worker.next("request");
      worker.chunk(request, "data: late\n\n");
      worker.complete(request);
      worker.complete(request);
      worker.complete(second, 200, '"second"');
      expect(await (await answer).text()).toBe('"second"');
    },
  },
  {
    title: "follows a worker's models_update, and starts what waited for it",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      worker.say({ type: "models_update", models: ["n"], current_load: 0 });
      await healthShows<Health>(relay, (health) => health.workers[0]?.models[0] === "n");
      const answer = chat(relay, { model: "m" });
      await healthShows<Health>(relay, (health) => health.queue_depth === 1);
      worker.say({ type: "models_update", models: ["m"], current_load: 0 });
      worker.complete(await worker.next("request"), 200, "{}");
      expect((await answer).status).toBe(200);
    },
  },
  {
    title: "believes the load that a worker reports",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay, { current_load: 1 });
      const answer = chat(relay);
      await healthShows<Health>(relay, (health) => health.queue_depth === 1);
      worker.say({ type: "pong", current_load: 0 });
      worker.complete(await worker.next("request"), 200, "{}");
      expect((await answer).status).toBe(200);
    },
  },
  {
    title: "sends a method only to workers that named the feature",
    link: "v1",
    async keep(kind) {
      await using relay = await kind.start();
      const plain = await readyWorker(relay);
      await expectError(
        await relay.fetch("/v1/responses/r1?model=m", { method: "DELETE" }),
        502,
        "worker_link_text_only",
      );
      const able = await readyWorker(relay, { features: ["method", "head", "flying"] });
      const answer = relay.fetch("/v1/responses/r1?model=m", { method: "DELETE" });
      const request = await able.next("request");
      expect(request).toMatchObject({
        method: "DELETE",
        endpoint_path: "/v1/responses/r1?model=m",
        body: "",
      });
      able.complete(request, 204);
      const response = await answer;
      expect({ status: response.status, body: await response.text() }).toEqual({ status: 204, body: "" });
      plain.close();
    },
  },
  {
    title: "lets a worker rest whose backend fails after the stream was only kept alive",
    async keep(kind) {
      await using relay = await kind.start({ sseKeepaliveMs: 20 });
      const worker = await readyWorker(relay);
      for (let n = 0; n < 3; n++) {
        const answer = chat(relay, { stream: true });
        const request = await worker.next("request");
        const response = await answer;
        worker.complete(request, 500, '{"error":{"message":"out of memory"}}');
        expect(await response.text()).toContain("out of memory");
      }
      await healthShows<{ workers: { is_resting: boolean }[] }>(
        relay,
        (health) => health.workers[0]?.is_resting === true,
      );
    },
  },
  {
    title: "streams Ollama's lines unbuffered and uncached",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = relay.fetch("/api/chat", { method: "POST", body: '{"model":"m"}' });
      const request = await worker.next("request");
      expect(request["is_streaming"]).toBe(true);
      worker.chunk(request, '{"done":false}\n', "application/x-ndjson");
      const response = await answer;
      expect([
        response.headers.get("content-type"),
        response.headers.get("x-accel-buffering"),
        response.headers.get("cache-control"),
      ]).toEqual(["application/x-ndjson", "no", "no-cache, no-transform"]);
      worker.complete(request);
      expect(await response.text()).toBe('{"done":false}\n');
    },
  },
  {
    title: "lets a worker that named the feature send status and headers with the first chunk",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay, { features: ["head"] });
      const answer = chat(relay);
      const { request_id } = await worker.next("request");
      worker.say({
        type: "response_chunk",
        request_id,
        chunk: '{"a":',
        status_code: 201,
        headers: { "content-type": "application/json", "x-n": "1" },
      });
      const response = await answer;
      expect([response.status, response.headers.get("content-type"), response.headers.get("x-n")]).toEqual([
        201,
        "application/json",
        "1",
      ]);
      worker.say({ type: "response_chunk", request_id, chunk: "1}" });
      worker.say({ type: "response_complete", request_id, status_code: 201 });
      expect(await response.text()).toBe('{"a":1}');
    },
  },
];
