import { describe, expect, test } from "bun:test";
import { startFakeBackend, type FakeBackend } from "../support/fake-backend.ts";
import { startFakeRelay, type FakeLink } from "./fake-relay.ts";
import { startTestWorker, type StartedWorker } from "./started-worker.ts";
import type { WorkerConfig } from "../../src/worker/index.ts";

interface Bench extends AsyncDisposable {
  link: FakeLink;
  backend: FakeBackend;
  started: StartedWorker;
}

/** Relay, worker and backend, connected and registered. */
async function bench(more: Partial<WorkerConfig> = {}, models = ["tiny"]): Promise<Bench> {
  const backend = await startFakeBackend(models);
  const relay = startFakeRelay();
  const started = startTestWorker(relay, backend, more);
  const link = await relay.nextLink();
  await link.accept();
  await started.next("registered");
  return {
    link,
    backend,
    started,
    async [Symbol.asyncDispose]() {
      await started[Symbol.asyncDispose]();
      await relay[Symbol.asyncDispose]();
      await backend.stop();
    },
  };
}

const CHAT = { model: "tiny", messages: [{ role: "user", content: "Hi" }] };
const STREAM = { ...CHAT, stream: true };
const SSE = { "content-type": "text/event-stream" };

describe("Worker request", () => {
  test("reaches the backend as it is, and the answer goes back as it is", async () => {
    await using all = await bench();
    all.link.request("r1", CHAT);
    const exchange = await all.backend.next();
    expect([exchange.method, exchange.path, exchange.json()]).toEqual(["POST", "/v1/chat/completions", CHAT]);
    exchange.answer(200, { model: "other", choices: [] }, { "x-custom": "1" });
    const complete = await all.link.next("response_complete", "r1");
    expect(complete).toMatchObject({ status_code: 200, body: '{"model":"other","choices":[]}' });
    expect(complete["headers"]).toMatchObject({ "content-type": "application/json", "x-custom": "1" });
  });

  const form = (...models: string[]) =>
    models
      .map((model) => `--B\r\ncontent-disposition: form-data; name="model"\r\n\r\n${model}\r\n`)
      .join("") + "--B--\r\n";
  const formHeaders = { "content-type": "multipart/form-data; boundary=B" };
  test.each([
    ["in place of its own", { body: '{"model":"secret"}' }],
    ["besides its own", { body: '{"model":"tiny","model":"secret"}' }],
    ["in another spelling", { body: '{"model":"tiny","Mod\\u0065l":"secret"}' }],
    ["although it is given out for none", { model: "", body: '{"model":"secret"}' }],
    ["in a form", { body: form("secret"), headers: formHeaders }],
    ["in a form besides its own", { body: form("tiny", "secret"), headers: formHeaders }],
    [
      "in a form that is called one in capitals",
      { body: form("secret"), headers: { "Content-Type": formHeaders["content-type"] } },
    ],
    [
      "in a form that is called JSON as well",
      {
        body: form("secret"),
        headers: { "content-type": "application/json", "CONTENT-TYPE": formHeaders["content-type"] },
      },
    ],
  ])("that names another model %s does not reach the backend", async (_, more) => {
    await using all = await bench({ models: { all: false, names: [{ public: "tiny", backend: "tiny" }] } });
    all.link.request("r1", CHAT, more);
    const { complete } = await all.link.collect("r1");
    expect(complete).toMatchObject({
      status_code: 400,
      headers: { "x-modelrelay-error": "worker", "x-modelrelay-code": "worker_model_mismatch" },
    });
    all.link.request("r2", CHAT);
    const exchange = await all.backend.next();
    expect(exchange.json()).toEqual(CHAT);
  });

  test("may be a form, and may name no model where the relay names none", async () => {
    await using all = await bench();
    all.link.request("r1", CHAT, { body: form("tiny"), headers: formHeaders });
    const exchange = await all.backend.next();
    expect(exchange.body.toString()).toBe(form("tiny"));
    exchange.answer(200, {});
    await all.link.collect("r1");
    all.link.request("r2", {}, { endpoint_path: "/v1/responses/resp_1/cancel" });
    expect((await all.backend.next()).path).toBe("/v1/responses/resp_1/cancel");
  });

  test.each([400, 404, 429, 500, 503])(
    "keeps the backend's status %d, its headers and its body",
    async (status) => {
      await using all = await bench();
      all.link.request("r1", STREAM);
      (await all.backend.next()).answer(status, { error: { code: status } }, { "retry-after": "9" });
      const { text, complete } = await all.link.collect("r1");
      expect(text).toBe("");
      expect(complete).toMatchObject({ status_code: status, body: `{"error":{"code":${status}}}` });
      expect(complete["headers"]).toMatchObject({ "retry-after": "9" });
    },
  );

  test("streams each event as it comes, whole when the backend writes byte by byte", async () => {
    await using all = await bench();
    all.link.request("r1", STREAM);
    const exchange = await all.backend.next();
    exchange.head(200, SSE);
    exchange.write('data: {"t":"é€😀"}\n\n');
    expect((await all.link.next("response_chunk", "r1"))["chunk"]).toBe('data: {"t":"é€😀"}\n\n');
    const rest = 'data: {"t":"é€😀"}\n\ndata: [DONE]\n\n';
    await exchange.writeSplit(rest, 1);
    exchange.end();
    const { text, complete } = await all.link.collect("r1");
    expect([text, complete["status_code"]]).toEqual([rest, 200]);
  });

  test("is renamed on the way in and back out", async () => {
    await using all = await bench({ models: { all: false, names: [{ public: "gpt-4o", backend: "tiny" }] } });
    all.link.request("r1", { ...CHAT, model: "gpt-4o" });
    const exchange = await all.backend.next();
    expect(exchange.json()).toEqual(CHAT);
    exchange.answer(200, '{"id":"x", "model":"tiny"}');
    expect((await all.link.next("response_complete", "r1"))["body"]).toBe('{"id":"x", "model":"gpt-4o"}');
    all.link.request("r2", { ...STREAM, model: "gpt-4o" });
    const stream = await all.backend.next();
    stream.head(200, SSE);
    await stream.writeSplit(
      'data: {"model":"tiny","n":1}\n\ndata: {"model":"tiny","n":2}\n\ndata: [DONE]\n\n',
      5,
    );
    stream.end();
    expect((await all.link.collect("r2")).text).toBe(
      'data: {"model":"gpt-4o","n":1}\n\ndata: {"model":"gpt-4o","n":2}\n\ndata: [DONE]\n\n',
    );
  });

  test("whose stream begins with an error is answered with the error's status", async () => {
    await using all = await bench();
    all.link.request("r1", STREAM);
    const exchange = await all.backend.next();
    exchange.head(200, SSE);
    await exchange.writeSplit('data: {"error":{"message":"too long","code":400}}\n\n', 11);
    const { text, complete } = await all.link.collect("r1");
    expect([text, complete["status_code"], complete["body"]]).toEqual([
      "",
      400,
      '{"error":{"message":"too long","code":400}}',
    ]);
    expect(complete["headers"]).toMatchObject({ "content-type": "application/json" });
    await exchange.closed;
  });

  test.each(["cut", "reset"] as const)(
    "never ends as complete when the backend's stream is %s",
    async (how) => {
      await using all = await bench();
      all.link.request("r1", STREAM);
      const exchange = await all.backend.next();
      exchange.head(200, SSE);
      exchange.write('data: {"n":1}\n\n');
      await all.link.next("response_chunk", "r1");
      exchange[how]();
      const complete = await all.link.next("response_complete", "r1");
      expect(complete["status_code"]).toBe(502);
      expect(complete["headers"]).toMatchObject({ "x-modelrelay-error": "backend" });
    },
  );

  test("gets 502 when the backend breaks off before the first byte", async () => {
    await using all = await bench();
    all.link.request("r1", CHAT);
    (await all.backend.next()).reset();
    expect(await all.link.next("response_complete", "r1")).toMatchObject({ status_code: 502 });
  });

  test("that is cancelled ends at the backend, and is then completed with 499 and nothing else", async () => {
    await using all = await bench();
    all.link.request("r1", STREAM);
    const exchange = await all.backend.next();
    exchange.head(200, SSE);
    exchange.write('data: {"n":1}\n\n');
    await all.link.next("response_chunk", "r1");
    all.link.cancel("r1");
    const complete = await all.link.next("response_complete", "r1");
    expect(complete["status_code"]).toBe(499);
    await exchange.closed;
    // The link is in order: another request is served, and no late chunk of the first has come.
    all.link.request("r2", CHAT);
    (await all.backend.next()).answer(200, {});
    await all.link.next("response_complete", "r2");
    expect(all.link.inbox.items.filter((message) => message["request_id"] === "r1")).toEqual([]);
  });

  test("that is cancelled before the backend answers ends there too", async () => {
    await using all = await bench();
    all.link.request("r1", CHAT);
    const exchange = await all.backend.next();
    all.link.cancel("r1");
    await exchange.closed;
    expect((await all.link.next("response_complete", "r1"))["status_code"]).toBe(499);
  });

  test("is refused above the worker's limit, and reaches the backend once there is room", async () => {
    await using all = await bench({ maxConcurrency: 1 });
    all.link.request("r1", CHAT);
    const first = await all.backend.next();
    all.link.request("r2", CHAT);
    const refused = await all.link.next("response_complete", "r2");
    expect([refused["status_code"], String(refused["body"])]).toEqual([
      503,
      "This worker is busy: it runs 1 of at most 1 requests",
    ]);
    all.link.say({ type: "ping", timestamp_unix_ms: 7 });
    expect(await all.link.next("pong")).toMatchObject({ current_load: 1, timestamp_unix_ms: 7 });
    first.answer(200, {});
    await all.link.next("response_complete", "r1");
    all.link.request("r3", CHAT);
    (await all.backend.next()).answer(200, {});
    expect((await all.link.next("response_complete", "r3"))["status_code"]).toBe(200);
  });

  test("waits for the slot of a cancelled one whose connection is still being closed", async () => {
    await using all = await bench({ maxConcurrency: 1 });
    for (let n = 0; n < 20; n++) {
      all.link.request(`gone${n}`, CHAT);
      const gone = await all.backend.next();
      // The relay counts the slot as free from its cancel on, so both come in one go.
      all.link.cancel(`gone${n}`);
      all.link.request(`r${n}`, CHAT);
      await gone.closed;
      (await all.backend.next()).answer(200, {});
      expect((await all.link.next("response_complete", `r${n}`))["status_code"]).toBe(200);
    }
  });

  test("lets go of a backend whose answer cannot cross the link", async () => {
    await using all = await bench();
    all.link.request("r1", CHAT);
    const exchange = await all.backend.next();
    // More is promised than is sent: only the worker can end this connection.
    exchange.raw("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 1000\r\n\r\n");
    exchange.raw(new Uint8Array([0xff, 0xfb, 0x90]));
    expect((await all.link.next("response_complete", "r1"))["status_code"]).toBe(502);
    await exchange.closed;
  });

  test("for a model that is not offered is refused", async () => {
    await using all = await bench();
    all.link.request("r1", { ...CHAT, model: "other" });
    expect((await all.link.next("response_complete", "r1"))["status_code"]).toBe(404);
    expect(all.backend.exchanges.items).toEqual([]);
  });

  test("for a path that is none of an inference API is refused", async () => {
    await using all = await bench();
    all.link.request("r1", CHAT, { endpoint_path: "/v1/../metrics" });
    expect((await all.link.next("response_complete", "r1"))["status_code"]).toBe(404);
    expect(all.backend.exchanges.items).toEqual([]);
  });

  test("stalls at the backend while the relay does not read, and arrives whole in the end", async () => {
    await using all = await bench();
    all.link.request("r1", STREAM);
    const exchange = await all.backend.next();
    exchange.head(200, SSE);
    exchange.write("data: {}\n\n");
    await all.link.next("response_chunk", "r1");
    all.link.pause();
    const block = `data: ${"x".repeat(65_528)}\n\n`;
    const blocks = 1_600;
    let taken = 0;
    const writing = (async () => {
      for (let i = 0; i < blocks; i++) {
        exchange.write(block);
        await exchange.flushed();
        taken++;
      }
    })();
    // Without a stop all 100 MB would be taken at once; what is taken is what the kernel's buffers in
    // between hold, some 30 MB. That nothing more is taken is no event: a quiet quarter of a second tells.
    let before = -1;
    while (taken !== before) {
      before = taken;
      await Bun.sleep(250);
    }
    expect(taken).toBeLessThan(blocks / 2);
    all.link.resume();
    await writing;
    exchange.end();
    const { text, complete } = await all.link.collect("r1");
    expect([text.length, complete["status_code"]]).toEqual([block.length * blocks, 200]);
  }, 30_000);
});
