import { expect } from "bun:test";
import type { RawWorker } from "../support/raw-worker.ts";
import { chat, expectError, healthShows, readyWorker, type ContractPromise } from "./promise.ts";

/** What a worker does wrong, and how its link then ends. */
const OFFENCES: { title: string; commit(worker: RawWorker): void; code: number; reason?: string }[] = [
  {
    title: "text that is not JSON",
    commit: (worker) => worker.raw("\u0000garbage{"),
    code: 1002,
    reason: "Cannot read a message: it is not JSON",
  },
  {
    title: "half a message",
    commit: (worker) => worker.raw('{"type":"response_chunk","request_id":"'),
    code: 1002,
  },
  { title: "JSON that is no object", commit: (worker) => worker.raw("[1,2]"), code: 1002 },
  { title: "a message without a type", commit: (worker) => worker.raw("{}"), code: 1002 },
  { title: "a binary message", commit: (worker) => worker.raw(new Uint8Array([1, 2, 3])), code: 1002 },
  {
    title: "a field of the wrong kind",
    commit: (worker) => worker.say({ type: "response_chunk", request_id: 7, chunk: "x" }),
    code: 1002,
    reason: 'Cannot read "response_chunk": "request_id" must be a string',
  },
  {
    title: "a second registration",
    commit: (worker) => worker.say({ type: "register", worker_name: "x", models: [], max_concurrent: 1 }),
    code: 1002,
  },
  {
    title: "a negative load",
    commit: (worker) => worker.say({ type: "pong", current_load: -1 }),
    code: 1002,
  },
  { title: "a message of 100 MB", commit: (worker) => worker.raw("x".repeat(100 * 1024 * 1024)), code: 1009 },
];

export const misbehaviourPromises: ContractPromise[] = [
  ...OFFENCES.map((offence): ContractPromise => ({
    title: `closes the link of a worker that sends ${offence.title}, while others serve`,
    link: "v1",
    async keep(kind) {
      await using relay = await kind.start();
      const good = await readyWorker(relay);
      const bad = await readyWorker(relay, { worker_name: "bad" }, ["other"]);
      const answer = chat(relay, { stream: true });
      const request = await good.next("request");
      good.chunk(request, "data: 1\n\n");
      const response = await answer;
      offence.commit(bad);
      const closed = await bad.closed;
      // A peer that is cut off in the middle of a huge message may see the cut before the reason.
      expect([offence.code, 1006]).toContain(closed.code);
      if (offence.code !== 1009) expect(closed.code).toBe(offence.code);
      if (offence.reason !== undefined) expect(closed.reason).toBe(offence.reason);
      good.chunk(request, "data: 2\n\n");
      good.complete(request);
      expect(await response.text()).toBe("data: 1\n\ndata: 2\n\n");
    },
  })),
  {
    title: "closes the link of a worker whose first message is not register",
    link: "v1",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await relay.worker();
      worker.say({ type: "pong", current_load: 0 });
      expect(await worker.closed).toEqual({
        code: 1002,
        reason: 'Cannot take "pong": the first message must be "register"',
      });
    },
  },
  {
    title: "skips message types that it does not know",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      worker.say({ type: "weather", sun: true });
      const answer = chat(relay);
      worker.complete(await worker.next("request"), 200, "{}");
      expect((await answer).status).toBe(200);
    },
  },
  {
    title: "lets no worker complete another worker's request",
    link: "v1",
    async keep(kind) {
      await using relay = await kind.start();
      const holder = await readyWorker(relay);
      const answer = chat(relay);
      const request = await holder.next("request");
      const stranger = await readyWorker(relay, { worker_name: "stranger" }, ["other"]);
      stranger.chunk(request, "data: forged\n\n");
      stranger.complete(request, 200, '"forged"');
      stranger.say({ type: "error", request_id: request["request_id"], code: "x", message: "forged" });
      // Its messages have been read once a request of its own has made the round.
      const own = chat(relay, { model: "other" });
      stranger.complete(await stranger.next("request"), 200, "{}");
      await own;
      holder.complete(request, 200, '"true"');
      expect(await (await answer).text()).toBe('"true"');
    },
  },
  {
    title: "bears a second completion of one request",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      for (let n = 0; n < 3; n++) {
        const answer = chat(relay);
        const request = await worker.next("request");
        worker.complete(request, 200, `"${n}"`);
        worker.complete(request, 500, '"again"');
        worker.chunk(request, "data: more\n\n");
        expect(await (await answer).text()).toBe(`"${n}"`);
      }
      await healthShows<{ workers_connected: number }>(relay, (health) => health.workers_connected === 1);
    },
  },
  {
    title: "holds nothing for an answer that may have no body",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay, { features: ["method", "head"] });
      for (const [method, status] of [
        ["HEAD", 200],
        ["POST", 204],
        ["POST", 205],
        ["POST", 304],
      ] as const) {
        const answer = relay.fetch("/v1/batches?model=m", { method });
        const request = await worker.next("request");
        worker.say({
          type: "response_chunk",
          request_id: request["request_id"],
          chunk: "x".repeat(1_000),
          status_code: status,
          headers: { "content-type": "text/plain" },
        });
        expect((await answer).status).toBe(status);
        worker.chunk(request, "y".repeat(1_000));
        worker.complete(request, status);
      }
      await healthShows<{ bytes_held: number; requests_in_flight: number }>(
        relay,
        (health) => health.bytes_held === 0 && health.requests_in_flight === 0,
      );
    },
  },
  {
    title: "takes no more header fields from a worker than can be sent without delay",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      for (const [count, length] of [
        // A head of v2 has a limit of its own, 1 MiB.
        [worker.version === "v1" ? 100_000 : 50_000, 1],
        [20, 10_000],
      ] as const) {
        const fields = Array.from({ length: count }, (_, n) => [`x-${n}`, "v".repeat(length)]);
        const answer = chat(relay);
        const headers = { "content-type": "application/json", ...Object.fromEntries(fields) };
        worker.complete(await worker.next("request"), 200, "{}", headers);
        const response = await answer;
        expect(await response.text()).toBe("{}");
        expect(response.headers.get("content-type")).toBe("application/json");
        expect(response.headers.get("x-0")).toHaveLength(length);
        expect(JSON.stringify(response.headers).length).toBeLessThan(40_000);
      }
    },
  },
  {
    title: "answers 502 for a status that HTTP does not know, and keeps the link",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay, { max_concurrent: 4, features: ["head"] });
      const stream = chat(relay, { stream: true });
      const running = await worker.next("request");
      worker.chunk(running, "data: 1\n\n");
      for (const status of [0, 101, 199, 600, 999, 70_000]) {
        const whole = chat(relay);
        worker.complete(await worker.next("request"), status, "{}");
        await expectError(await whole, 502, "backend_unreachable");
        const inParts = chat(relay);
        const { request_id: id } = await worker.next("request");
        worker.say({ type: "response_chunk", request_id: id, chunk: "x", status_code: status, headers: {} });
        await expectError(await inParts, 502, "backend_unreachable");
        await worker.inbox.next((message) => message.type === "cancel" && message["request_id"] === id);
      }
      worker.complete(running);
      expect(await (await stream).text()).toBe("data: 1\n\n");
    },
  },
  {
    title: "tells clients no address that a worker's error names",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(relay);
      worker.say({
        type: "error",
        request_id: (await worker.next("request"))["request_id"],
        code: "backend_error",
        message:
          "error for url (http://gpu.lan:8000/v1/x): tcp connect to 10.0.0.5:8000, [fd00::5]:8000 at 12:30, llama3.1",
      });
      const { message } = await expectError(await answer, 502, "backend_unreachable");
      expect(message).toBe(
        "error for url ((address)): tcp connect to (address), (address) at 12:30, llama3.1",
      );
    },
  },
];
