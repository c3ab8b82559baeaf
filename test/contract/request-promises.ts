import { expect } from "bun:test";
import { CHAT, chat, expectError, healthShows, readyWorker, type ContractPromise } from "./promise.ts";

const decoder = new TextDecoder();

/** Whatever comes of a request that its client gives up. */
function outcome(answer: Promise<Response>): Promise<unknown> {
  return answer.catch((error: unknown) => error);
}

/** What a client may rely on. */
export const requestPromises: ContractPromise[] = [
  {
    title: "hands the request on as it is, and the answer back as it is",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const body = '{ "model":"m",\n "x": "\\u00e9é😀", "n": 1.0 }';
      const answer = relay.fetch(`${CHAT}?a=1&b=%20`, {
        method: "POST",
        headers: { "content-type": "application/json", "openai-beta": "x=1", "user-agent": "probe/1" },
        body,
      });
      const request = await worker.next("request");
      expect(request).toMatchObject({
        model: "m",
        endpoint_path: `${CHAT}?a=1&b=%20`,
        is_streaming: false,
        body,
      });
      expect(request["headers"]).toMatchObject({
        "content-type": "application/json",
        "openai-beta": "x=1",
        "user-agent": "probe/1",
      });
      worker.complete(request, 418, '{"é": "😀"}', {
        "content-type": "application/json",
        "x-backend": "yes",
        "openai-version": "1",
      });
      const response = await answer;
      expect({ status: response.status, body: await response.text() }).toEqual({
        status: 418,
        body: '{"é": "😀"}',
      });
      expect(response.headers.get("x-backend")).toBe("yes");
      expect(response.headers.get("x-modelrelay-error")).toBe("backend");
      expect(response.headers.get("server-timing")).toMatch(/^queue;dur=[\d.]+, worker;dur=[\d.]+/);
    },
  },
  {
    title: "keeps secrets, cookies and the connection's own fields from the worker",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(
        relay,
        {},
        {
          headers: {
            "content-type": "application/json",
            authorization: "Bearer client-key",
            cookie: "a=b",
            "x-api-key": "test-worker-secret",
            te: "trailers",
            "x-private": "1",
            "keep-alive": "timeout=5",
            "x-forwarded-for": "10.0.0.1",
            origin: "https://page.example",
            traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "anthropic-version": "2023-06-01",
          },
        },
      );
      const request = await worker.next("request");
      const names = Object.keys(request["headers"] as object);
      expect(names).toContain("traceparent");
      expect(names).toContain("anthropic-version");
      for (const name of [
        "authorization",
        "cookie",
        "x-api-key",
        "te",
        "keep-alive",
        "x-forwarded-for",
        "origin",
        "host",
        "connection",
        "content-length",
      ]) {
        expect(names).not.toContain(name);
      }
      worker.complete(request, 200, "{}", {
        "content-type": "application/json",
        "set-cookie": "a=b",
        "transfer-encoding": "chunked",
        "content-length": "999",
        // What crosses v1 is text, whatever its worker says; v2 carries bytes as they are.
        ...(worker.version === "v1" && { "content-encoding": "gzip" }),
        "strict-transport-security": "max-age=1",
        connection: "x-hop",
        "x-hop": "1",
        "bad\r\nname": "1",
        "x-bad-value": "a\r\nb: c",
      });
      const response = await answer;
      expect(await response.text()).toBe("{}");
      for (const name of [
        "set-cookie",
        "content-encoding",
        "strict-transport-security",
        "x-hop",
        "x-bad-value",
      ]) {
        expect(response.headers.get(name)).toBeNull();
      }
    },
  },
  {
    title: "passes on another provider's x-api-key",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      void chat(
        relay,
        {},
        { headers: { "content-type": "application/json", "x-api-key": "sk-other" } },
      ).catch(() => {});
      expect((await worker.next("request"))["headers"]).toMatchObject({ "x-api-key": "sk-other" });
    },
  },
  {
    title: "streams each chunk when it comes, unbuffered and uncached",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(relay, { stream: true });
      const request = await worker.next("request");
      expect(request["is_streaming"]).toBe(true);
      worker.chunk(request, "data: 1\n\n");
      const response = await answer;
      expect(response.headers.get("content-type")).toBe("text/event-stream");
      expect(response.headers.get("x-accel-buffering")).toBe("no");
      expect(response.headers.get("cache-control")).toBe("no-cache, no-transform");
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      expect(decoder.decode((await reader.read()).value)).toBe("data: 1\n\n");
      for (const text of ["data: é😀\n\n", ": odd\r\n", "data: [DONE]\n\n"]) {
        worker.chunk(request, text);
        expect(decoder.decode((await reader.read()).value)).toBe(text);
      }
      worker.complete(request);
      expect((await reader.read()).done).toBe(true);
    },
  },
  {
    title: "answers a streaming request with the backend's own error",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const answer = chat(relay, { stream: true });
      worker.complete(await worker.next("request"), 429, '{"error":{"message":"slow down"}}', {
        "content-type": "application/json",
        "retry-after": "7",
      });
      const response = await answer;
      expect({
        status: response.status,
        retry: response.headers.get("retry-after"),
        body: await response.text(),
      }).toEqual({
        status: 429,
        retry: "7",
        body: '{"error":{"message":"slow down"}}',
      });
    },
  },
  {
    title: "refuses bodies that name no model, in the dialect of the path",
    async keep(kind) {
      await using relay = await kind.start();
      for (const body of ["", "{", "[]", "null", "{}", '{"model":1}', '{"model":" "}']) {
        await expectError(await relay.fetch(CHAT, { method: "POST", body }), 400, "invalid_request");
      }
      const anthropic = await relay.fetch("/v1/messages", { method: "POST", body: "{" });
      expect({ status: anthropic.status, body: await anthropic.json() }).toEqual({
        status: 400,
        body: {
          type: "error",
          error: { type: "invalid_request_error", message: expect.any(String) },
          request_id: expect.any(String),
        },
      });
    },
  },
  {
    title: "says which models are offered when one is not",
    async keep(kind) {
      await using relay = await kind.start();
      await readyWorker(relay, {}, ["b/large", "a"]);
      const { message } = await expectError(await chat(relay, { model: "zzz" }), 404, "model_not_found");
      expect(message).toBe('Model "zzz" is not offered: offered are "a", "b/large"');
    },
  },
  {
    title: "lists the models in both dialects, and finds one whose name has a slash",
    async keep(kind) {
      await using relay = await kind.start();
      await readyWorker(relay, {}, ["b/large", "a"]);
      const openai = (await (await relay.fetch("/v1/models")).json()) as {
        object: string;
        data: { id: string; object: string }[];
      };
      expect(openai.object).toBe("list");
      expect(openai.data.map((model) => [model.id, model.object])).toEqual([
        ["a", "model"],
        ["b/large", "model"],
      ]);
      const headers = { "anthropic-version": "2023-06-01" };
      const anthropic = await (await relay.fetch("/v1/models", { headers })).json();
      expect(anthropic).toMatchObject({
        has_more: false,
        first_id: "a",
        last_id: "b/large",
        data: [
          { type: "model", id: "a" },
          { type: "model", id: "b/large" },
        ],
      });
      expect(await (await relay.fetch("/v1/models/b%2Flarge")).json()).toMatchObject({
        id: "b/large",
        object: "model",
      });
      expect((await relay.fetch("/v1/models/b/large")).status).toBe(200);
      await expectError(await relay.fetch("/v1/models/none"), 404, "model_not_found");
      expect(await (await relay.fetch("/api/tags")).json()).toMatchObject({
        models: [{ name: "a", model: "a" }, { name: "b/large" }],
      });
    },
  },
  {
    title: "refuses a body over the limit, and names limit and flag",
    async keep(kind) {
      await using relay = await kind.start({ maxBody: 1_000 });
      const { message } = await expectError(
        await chat(relay, { pad: "x".repeat(2_000) }),
        413,
        "request_too_large",
      );
      expect(message).toContain("1000 B");
      expect(message).toContain("--max-body");
      const parts = new ReadableStream<Uint8Array>({
        start(controller) {
          for (let n = 0; n < 30; n++) controller.enqueue(new Uint8Array(100));
          controller.close();
        },
      });
      await expectError(await relay.fetch(CHAT, { method: "POST", body: parts }), 413, "request_too_large");
    },
  },
  {
    title: "refuses what would pass the bytes it may hold for all, and recovers",
    async keep(kind) {
      await using relay = await kind.start({ maxInflightBytes: 3_000, maxBody: 3_000 });
      const worker = await readyWorker(relay, { max_concurrent: 2 });
      const first = chat(relay, { pad: "x".repeat(2_000) });
      const request = await worker.next("request");
      const second = await chat(relay, { pad: "x".repeat(2_000) });
      expect(second.headers.get("retry-after")).toBe("5");
      await expectError(second, 503, "relay_overloaded");
      worker.complete(request, 200, "{}");
      await (await first).text();
      const third = chat(relay, { pad: "x".repeat(2_000) });
      worker.complete(await worker.next("request"), 200, "{}");
      expect((await third).status).toBe(200);
      await healthShows<{ bytes_held: number }>(relay, (health) => health.bytes_held === 0);
    },
  },
  {
    title: "refuses the request after the queue's limit, with Retry-After",
    async keep(kind) {
      await using relay = await kind.start({ maxQueueLen: 1 });
      const worker = await readyWorker(relay);
      const first = chat(relay);
      const running = await worker.next("request");
      const second = chat(relay);
      await healthShows<{ queue_depth: number }>(relay, (health) => health.queue_depth === 1);
      const third = await chat(relay);
      expect(third.headers.get("retry-after")).toMatch(/^\d+$/);
      await expectError(third, 503, "queue_full");
      worker.complete(running, 200, '"1"');
      worker.complete(await worker.next("request"), 200, '"2"');
      expect([await (await first).text(), await (await second).text()]).toEqual(['"1"', '"2"']);
    },
  },
  {
    title: "gives up a request that has waited its whole queue time",
    async keep(kind) {
      await using relay = await kind.start({ queueTimeoutMs: 50 });
      const worker = await readyWorker(relay);
      void chat(relay).catch(() => {});
      await worker.next("request");
      const response = await chat(relay);
      expect(response.headers.get("retry-after")).toMatch(/^\d+$/);
      await expectError(response, 503, "queue_timeout");
    },
  },
  {
    title: "ends a request that is over its time, and cancels it at the worker",
    async keep(kind) {
      await using relay = await kind.start({ requestTimeoutMs: 50 });
      const worker = await readyWorker(relay);
      const answer = chat(relay);
      const request = await worker.next("request");
      await expectError(await answer, 504, "request_timeout");
      expect(await worker.next("cancel")).toMatchObject({
        request_id: request["request_id"],
        reason: "timeout",
      });
    },
  },
  {
    title: "ends a stream that is over its time with an error event and without [DONE]",
    async keep(kind) {
      await using relay = await kind.start({ requestTimeoutMs: 300 });
      const worker = await readyWorker(relay);
      const answer = chat(relay, { stream: true });
      worker.chunk(await worker.next("request"), "data: 1\n\n");
      const text = await (await answer).text();
      expect(text).toStartWith('data: 1\n\ndata: {"error":{"message":');
      expect(text).toContain('"code":"request_timeout"');
      expect(text).not.toContain("[DONE]");
    },
  },
  {
    title: "keeps a silent stream alive, and then passes the answer on",
    async keep(kind) {
      await using relay = await kind.start({ sseKeepaliveMs: 30 });
      const worker = await readyWorker(relay);
      const answer = chat(relay, { stream: true });
      const request = await worker.next("request");
      const response = await answer;
      expect(response.status).toBe(200);
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      expect(decoder.decode((await reader.read()).value)).toBe(": ping\n");
      worker.chunk(request, "data: 1\n\n");
      let text = "";
      while (!text.includes("data: 1\n\n")) text += decoder.decode((await reader.read()).value);
      worker.complete(request);
      for (let part = await reader.read(); !part.done; part = await reader.read())
        text += decoder.decode(part.value);
      expect(text.replaceAll(": ping\n", "")).toBe("data: 1\n\n");
    },
  },
  {
    title: "says in the dialect what failed after a stream was only kept alive",
    async keep(kind) {
      await using relay = await kind.start({ sseKeepaliveMs: 30 });
      const worker = await readyWorker(relay);
      const answer = relay.fetch("/v1/messages", { method: "POST", body: '{"model":"m","stream":true}' });
      const request = await worker.next("request");
      const response = await answer;
      worker.complete(
        request,
        429,
        '{"type":"error","error":{"type":"rate_limit_error","message":"too fast"}}',
      );
      const events = (await response.text()).replaceAll('event: ping\ndata: {"type":"ping"}\n\n', "");
      expect(events).toBe(
        'event: error\ndata: {"type":"error","error":{"type":"rate_limit_error","message":"too fast"}}\n\n',
      );
    },
  },
  {
    title: "never puts a keep-alive inside a line of the stream",
    async keep(kind) {
      await using relay = await kind.start({ sseKeepaliveMs: 20 });
      const worker = await readyWorker(relay);
      const answer = chat(relay, { stream: true });
      const request = await worker.next("request");
      worker.chunk(request, 'data: {"half');
      const response = await answer;
      // Long enough for several keep-alives of a stream that could take one.
      await chat(relay, { model: "m", stream: false }, { signal: AbortSignal.timeout(150) }).catch(() => {});
      worker.chunk(request, '":1}\n\n');
      worker.complete(request);
      expect((await response.text()).replaceAll(": ping\n", "")).toBe('data: {"half":1}\n\n');
    },
  },
  {
    title: "cancels the worker's job when the client leaves before the first byte",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const client = new AbortController();
      const answer = outcome(chat(relay, {}, { signal: client.signal }));
      const request = await worker.next("request");
      client.abort();
      expect(await worker.next("cancel")).toEqual({
        type: "cancel",
        request_id: request["request_id"],
        reason: "client_disconnect",
      });
      await answer;
    },
  },
  {
    title: "cancels the worker's job when the client leaves in the middle of the stream",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const client = new AbortController();
      const answer = chat(relay, { stream: true }, { signal: client.signal });
      const request = await worker.next("request");
      worker.chunk(request, "data: 1\n\n");
      const response = await answer;
      const reader = (response.body as ReadableStream<Uint8Array>).getReader();
      await reader.read();
      client.abort();
      await reader.cancel().catch(() => {});
      expect(await worker.next("cancel")).toMatchObject({
        request_id: request["request_id"],
        reason: "client_disconnect",
      });
    },
  },
  {
    title: "forgets a queued request whose client leaves",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const running = chat(relay);
      const request = await worker.next("request");
      const client = new AbortController();
      const queued = outcome(chat(relay, {}, { signal: client.signal }));
      await healthShows<{ queue_depth: number }>(relay, (health) => health.queue_depth === 1);
      client.abort();
      await healthShows<{ queue_depth: number }>(relay, (health) => health.queue_depth === 0);
      await queued;
      worker.complete(request, 200, "{}");
      expect((await running).status).toBe(200);
      expect(
        worker.inbox.items.filter((message) => message.type === "request" || message.type === "cancel"),
      ).toEqual([]);
    },
  },
  {
    title: "takes the client's request id, and makes one when it is missing or odd",
    async keep(kind) {
      await using relay = await kind.start();
      const given = async (id?: string) =>
        (
          await relay.fetch("/livez", id === undefined ? {} : { headers: { "x-request-id": id } })
        ).headers.get("x-request-id");
      expect(await given("abc-1.2:3")).toBe("abc-1.2:3");
      const uuid = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
      expect(await given()).toMatch(uuid);
      expect(await given("a b")).toMatch(uuid);
      expect(await given("x".repeat(200))).toMatch(uuid);
    },
  },
  {
    title: "hands a client's request id on if it is a UUID, and else one of its own",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const uuid = "3F2504E0-4F89-41D3-9A0C-0305E82C3301";
      for (const id of [uuid, "abc-1.2:3"]) {
        const answer = chat(
          relay,
          {},
          { headers: { "content-type": "application/json", "x-request-id": id } },
        );
        const request = await worker.next("request");
        const { "x-request-id": handedOn } = request["headers"] as Record<string, string>;
        if (id === uuid) expect(handedOn).toBe(uuid);
        else expect(handedOn).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
        worker.complete(request, 200, "{}");
        expect((await answer).headers.get("x-request-id")).toBe(id);
      }
    },
  },
  {
    title: "answers preflights for the API and nothing else",
    async keep(kind) {
      await using relay = await kind.start({ corsOrigin: ["https://page.example"] });
      const preflight = (path: string, origin: string) =>
        relay.fetch(path, {
          method: "OPTIONS",
          headers: {
            origin,
            "access-control-request-method": "POST",
            "access-control-request-headers": "authorization",
          },
        });
      const allowed = await preflight(CHAT, "https://page.example");
      expect(allowed.status).toBe(204);
      expect(allowed.headers.get("access-control-allow-origin")).toBe("https://page.example");
      expect(allowed.headers.get("access-control-allow-headers")).toBe("authorization");
      expect(
        (await preflight(CHAT, "https://other.example")).headers.get("access-control-allow-origin"),
      ).toBeNull();
      const status = await relay.fetch("/health", { headers: { origin: "https://page.example" } });
      expect(status.headers.get("access-control-allow-origin")).toBeNull();
      const models = await relay.fetch("/v1/models", { headers: { origin: "https://page.example" } });
      expect(models.headers.get("access-control-allow-origin")).toBe("https://page.example");
    },
  },
  {
    title: "reports health, liveness and readiness",
    async keep(kind) {
      await using relay = await kind.start();
      expect((await relay.fetch("/livez")).status).toBe(200);
      expect(await (await relay.fetch("/readyz")).json()).toEqual({
        ready: true,
        reasons: [],
        warnings: ["no worker is connected"],
      });
      await readyWorker(relay, { worker_name: "box", max_concurrent: 3 });
      const health = await (await relay.fetch("/health")).json();
      expect(health).toMatchObject({
        status: "ok",
        version: expect.any(String),
        workers_connected: 1,
        queue_depth: 0,
        uptime_secs: expect.any(Number),
        models_provider: "local",
        workers: [
          {
            id: expect.any(String),
            name: "box",
            provider: "local",
            models: ["m"],
            in_flight: 0,
            max_concurrent: 3,
            is_draining: false,
          },
        ],
      });
    },
  },
  {
    title: "refuses unknown paths and methods with what is right",
    async keep(kind) {
      await using relay = await kind.start();
      await expectError(await relay.fetch("/nothing"), 404, "not_found");
      const wrong = await relay.fetch("/health", { method: "POST" });
      expect(wrong.headers.get("allow")).toBe("GET, HEAD");
      await expectError(wrong, 405, "method_not_allowed");
    },
  },
  {
    title: "drains: what runs finishes, what waits and what comes is refused, workers are told",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      const running = chat(relay, { stream: true });
      const request = await worker.next("request");
      worker.chunk(request, "data: 1\n\n");
      const response = await running;
      const queued = chat(relay);
      await healthShows<{ queue_depth: number }>(relay, (health) => health.queue_depth === 1);
      const drained = relay.drain();
      expect(await worker.next("graceful_shutdown")).toMatchObject({ drain_timeout_secs: 30 });
      await expectError(await queued, 503, "draining");
      worker.chunk(request, "data: 2\n\n");
      worker.complete(request);
      expect(await response.text()).toBe("data: 1\n\ndata: 2\n\n");
      await drained;
      expect((await worker.closed).code).toBe(1012);
    },
  },
  {
    title: "refuses a body of which another reader would take another model",
    async keep(kind) {
      await using relay = await kind.start();
      await readyWorker(relay, {}, ["m", "x"]);
      const form = (...models: string[]) => {
        const body = new FormData();
        for (const model of models) body.append("model", model);
        return body;
      };
      const octets = { "content-type": "application/octet-stream" };
      for (const [path, init] of [
        [CHAT, { body: '{"model":"x","model":"m"}' }],
        [CHAT, { body: '{"model":"m","Model":"x"}' }],
        [CHAT, { body: '{"mod\\u0065l":"x","model":"m"}' }],
        [`${CHAT}?model=m`, { body: '{"model":"x"}', headers: octets }],
        [`${CHAT}?model=m`, { body: Buffer.from('{"model":"x"}', "utf16le"), headers: octets }],
        ["/v1/audio/transcriptions", { body: form("m", "x") }],
      ] satisfies [string, RequestInit][]) {
        const error = await expectError(
          await relay.fetch(path, { method: "POST", ...init }),
          400,
          "invalid_request",
        );
        expect(error.message).toBe("The request names more than one model");
      }
    },
  },
  {
    title: "takes a body that speaks of models without naming another",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await readyWorker(relay);
      for (const more of [
        { tools: [{ model: "x" }], metadata: { model: "y", Model: "z" } },
        { messages: [{ role: "user", content: '"model": "x", \u0001' }] },
      ]) {
        const answer = chat(relay, more);
        worker.complete(await worker.next("request"), 200, "{}");
        expect((await answer).status).toBe(200);
      }
    },
  },
];
