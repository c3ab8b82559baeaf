import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { BackendError } from "../../src/worker/backend-error.ts";
import {
  backendAddress,
  normalizeBackendUrl,
  shownUrl,
  type BackendOptions,
} from "../../src/worker/backend.ts";
import { listModels } from "../../src/worker/backend-models.ts";
import { startFakeBackend, type FakeBackend } from "../support/fake-backend.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { pulledBackend, type PulledResponse } from "../support/pulled-backend.ts";

const CHAT = {
  method: "POST",
  path: "/v1/chat/completions",
  headers: { "content-type": "application/json" },
  body: new TextEncoder().encode("{}"),
};

function clientOf(fake: { url: string }, more: Partial<BackendOptions> = {}) {
  return pulledBackend({
    url: fake.url,
    clock: systemClock,
    firstByteTimeoutMs: 0,
    idleTimeoutMs: 0,
    ...more,
  });
}

async function readAll(response: PulledResponse): Promise<string> {
  const parts: Uint8Array[] = [];
  for (let part = await response.read(); part !== undefined; part = await response.read()) parts.push(part);
  return Buffer.concat(parts).toString();
}

/** What a promise is rejected with, as status and code. */
async function failure(promise: Promise<unknown>): Promise<unknown> {
  try {
    return await promise;
  } catch (error) {
    if (!(error instanceof BackendError)) return error;
    return { status: error.status, code: error.code, down: error.down };
  }
}

describe("Backend address", () => {
  test("joins a base with or without /v1, a final slash or a prefix", () => {
    for (const base of ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"]) {
      expect(backendAddress(normalizeBackendUrl(base), "/v1/models?a=b")?.href).toBe(
        "http://h:1/v1/models?a=b",
      );
    }
    expect(backendAddress(normalizeBackendUrl("http://h/llm/v1/"), "/v1/x")?.href).toBe("http://h/llm/v1/x");
  });

  test("is shown without its name and password", () => {
    expect(shownUrl("https://me:s%40cret@h:1/llm")).toBe("https://h:1/llm");
  });

  test.each([
    "/metrics",
    "/v1/../metrics",
    "/v1/%2e%2e/metrics",
    "/v1/..%2fmetrics",
    "/v1/%2E%2e%2Fmetrics",
    "/v1/x%2f..",
    "/v1/..%5cmetrics",
    "/api/pull",
    "/api/delete",
    "@evil/v1/x",
    "//evil/v1/x",
  ])("refuses the path %s", (path) => expect(backendAddress("http://h:1", path)).toBeUndefined());
});

describe("Backend", () => {
  test("sends method, path, headers and body, and its own key instead of the client's", async () => {
    await using fake = await startFakeBackend();
    const sent = clientOf(fake, { apiKey: "own" }).send({
      ...CHAT,
      headers: { ...CHAT.headers, authorization: "Bearer client", "x-api-key": "kept", connection: "x" },
    });
    const exchange = await fake.next();
    exchange.answer(201, { ok: true }, { "x-custom": "kept", connection: "keep-alive" });
    const response = await sent;
    expect({ status: response.status, body: await readAll(response) }).toEqual({
      status: 201,
      body: '{"ok":true}',
    });
    expect(response.headers["x-custom"]).toBe("kept");
    expect(response.headers["connection"]).toBeUndefined();
    expect([exchange.method, exchange.path, exchange.body.toString()]).toEqual(["POST", CHAT.path, "{}"]);
    const { authorization, "x-api-key": key, "accept-encoding": encoding } = exchange.headers;
    expect([authorization, key, encoding]).toEqual(["Bearer own", "kept", "identity"]);
  });

  test("proves itself by name and password of its address, unless it has a key", async () => {
    await using fake = await startFakeBackend();
    const url = fake.url.replace("//", "//us%40er:pa%3A%s@");
    for (const [apiKey, proof] of [
      [undefined, `Basic ${btoa("us@er:pa:%s")}`],
      ["own", "Bearer own"],
    ] as const) {
      const sent = clientOf({ url }, { apiKey }).send(CHAT);
      const exchange = await fake.next();
      exchange.answer(200, "x");
      await sent;
      expect([exchange.headers["authorization"], exchange.headers["host"]]).toEqual([
        proof,
        `127.0.0.1:${fake.port}`,
      ]);
    }
  });

  test("uses one connection for requests that follow each other", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    for (let i = 0; i < 5; i++) {
      const sent = client.send({ ...CHAT, method: "GET", body: new Uint8Array(0) });
      (await fake.next()).answer(200, "x");
      await readAll(await sent);
    }
    expect(fake.connections()).toBe(1);
  });

  test("passes redirects on instead of following them", async () => {
    await using fake = await startFakeBackend();
    const sent = clientOf(fake).send(CHAT);
    (await fake.next()).answer(307, "", { location: "/elsewhere" });
    expect((await sent).status).toBe(307);
  });

  test("names no address of its own in a redirect", async () => {
    await using fake = await startFakeBackend();
    for (const [location, passed] of [
      [`${fake.url}/v1/chat/completions/?a=b#c`, "/v1/chat/completions/?a=b#c"],
      [`${fake.url}/prefix/v1/x`, "/v1/x"],
      ["/elsewhere", "/elsewhere"],
      ["https://other.example/x", "https://other.example/x"],
      ["http://[bad", "http://[bad"],
    ] as const) {
      const sent = clientOf({ url: `${fake.url}/prefix` }).send(CHAT);
      (await fake.next()).answer(307, "", { location });
      expect((await sent).headers["location"]).toBe(passed);
    }
  });

  test.each(["CONNECT", "TRACE", "PURGE", "get", "", "GET / HTTP/1.1\r\nX: y\r\n\r\n"])(
    "does not send the method %j",
    async (method) => {
      await using fake = await startFakeBackend();
      const sent = failure(clientOf(fake).send({ ...CHAT, method }));
      expect(await sent).toEqual({ status: 405, code: "worker_method_not_relayed", down: false });
      expect(fake.connections()).toBe(0);
    },
  );

  test("answers 502 for a status that HTTP does not know", async () => {
    await using fake = await startFakeBackend();
    for (const status of [600, 999]) {
      const sent = failure(clientOf(fake).send(CHAT));
      const exchange = await fake.next();
      exchange.answer(status, "x");
      expect(await sent).toEqual({ status: 502, code: "backend_unreachable", down: false });
    }
  });

  test.each([
    ["is not HTTP", "SSH-2.0-OpenSSH\r\n"],
    ["has too many fields", `HTTP/1.1 200 OK\r\n${"a: b\r\n".repeat(300)}\r\n`],
    ["has no number for its length", "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n"],
    ["changes the protocol", "HTTP/1.1 101 X\r\nupgrade: foo\r\nconnection: upgrade\r\n\r\n"],
    ["is compressed only in name", "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n\r\n{}"],
    ["has a broken chunk", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n"],
  ])("names no address when an answer %s", async (_, answer) => {
    await using fake = await startFakeBackend();
    const sent = clientOf(fake).send(CHAT);
    const exchange = await fake.next();
    exchange.raw(answer);
    exchange.cut();
    const error: unknown = await sent.then(readAll).catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(BackendError);
    expect((error as BackendError).message).not.toMatch(/127\.0\.0\.1|http:|fetch/);
  });

  test("decompresses what came compressed all the same, and no longer says that it is", async () => {
    await using fake = await startFakeBackend();
    const sent = clientOf(fake).send(CHAT);
    const exchange = await fake.next();
    const packed = Bun.gzipSync(Buffer.from("hello hello"));
    exchange.head(200, { "content-encoding": "gzip", "content-length": String(packed.length) });
    exchange.write(packed);
    const response = await sent;
    expect([response.headers["content-encoding"], await readAll(response)]).toEqual([
      undefined,
      "hello hello",
    ]);
  });

  test("answers 502 when nothing listens, and when the connection is reset before the answer", async () => {
    const fake = await startFakeBackend();
    const client = clientOf(fake);
    const sent = failure(client.send(CHAT));
    (await fake.next()).reset();
    const unreachable = { status: 502, code: "backend_unreachable", down: true };
    expect(await sent).toEqual(unreachable);
    await fake.stop();
    expect(await failure(client.send(CHAT))).toEqual(unreachable);
  });

  const broken: [string, (fake: FakeBackend) => Promise<void>][] = [
    [
      "is shorter than its content length",
      async (fake) => {
        const exchange = await fake.next();
        exchange.head(200, { "content-length": "100" });
        exchange.write("short");
        exchange.cut();
      },
    ],
    [
      "lacks its last chunk",
      async (fake) => {
        const exchange = await fake.next();
        exchange.head(200);
        exchange.write("short");
        exchange.cut();
      },
    ],
    [
      "ends in a reset",
      async (fake) => {
        const exchange = await fake.next();
        exchange.head(200);
        exchange.write("short");
        await exchange.flushed();
        exchange.reset();
      },
    ],
  ];
  test.each(broken)("does not take a body for complete that %s", async (_, answer) => {
    await using fake = await startFakeBackend();
    const sent = clientOf(fake).send(CHAT);
    await answer(fake);
    const read = (async () => readAll(await sent))();
    expect(await failure(read)).toEqual({ status: 502, code: "backend_unreachable", down: true });
  });

  test("gives up with 504 when the first byte does not come in time", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const client = clientOf(fake, { clock, firstByteTimeoutMs: 5_000 });
    const sent = client.send(CHAT);
    const exchange = await fake.next();
    exchange.head(200);
    const response = await sent;
    const read = failure(response.read());
    clock.advance(4_999);
    expect(clock.pending).toEqual([1]);
    clock.advance(1);
    expect(await read).toEqual({ status: 504, code: "first_byte_timeout", down: false });
    await exchange.closed;
  });

  test("gives up with 504 on silence after the first byte, but counts only while it waits", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const client = clientOf(fake, { clock, idleTimeoutMs: 1_000 });
    const sent = client.send(CHAT);
    const exchange = await fake.next();
    exchange.head(200);
    exchange.write("a");
    const response = await sent;
    await response.read();
    // Nobody reads: however long that lasts, the backend is not at fault.
    clock.advance(60_000);
    exchange.write("b");
    expect(Buffer.from((await response.read()) ?? []).toString()).toBe("b");
    const read = failure(response.read());
    clock.advance(1_000);
    expect(await read).toEqual({ status: 504, code: "idle_timeout", down: false });
  });

  test("closes its connection when the request is aborted, before the head and in the body", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const early = new AbortController();
    const sent = failure(client.send(CHAT, early.signal));
    const first = await fake.next();
    early.abort("gone");
    expect(await sent).toBe("gone");
    await first.closed;

    const late = new AbortController();
    const second = client.send(CHAT, late.signal);
    const exchange = await fake.next();
    exchange.head(200);
    exchange.write("a");
    const response = await second;
    await response.read();
    const read = failure(response.read());
    late.abort("gone");
    expect(await read).toBe("gone");
    await exchange.closed;
  });
});

describe("Backend time limit", () => {
  test("leaves no timer behind when a request is aborted between two reads", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const abort = new AbortController();
    const sent = clientOf(fake, { clock, firstByteTimeoutMs: 5_000 }).send(CHAT, abort.signal);
    const exchange = await fake.next();
    exchange.head(200);
    await sent;
    expect(clock.pending).toEqual([5_000]);
    abort.abort("gone");
    await exchange.closed;
    expect(clock.pending).toEqual([]);
  });
});

describe("List of models", () => {
  test("is OpenAI's, or Ollama's where that is missing", async () => {
    await using fake = await startFakeBackend(["a", "b", "a"]);
    expect(await listModels(`${fake.url}/v1/`)).toEqual({ up: true, models: ["a", "b"] });
    const ollama = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) =>
        new URL(request.url).pathname === "/api/tags"
          ? Response.json({ models: [{ name: "llama3.1:8b", model: "llama3.1:8b" }] })
          : new Response("404", { status: 404 }),
    });
    expect(await listModels(ollama.url.href)).toEqual({ up: true, models: ["llama3.1:8b"] });
    await ollama.stop(true);
  });

  test("tells a server without a list from one that is not ready, refuses, or is not there", async () => {
    let status = 404;
    const server = Bun.serve({ port: 0, hostname: "127.0.0.1", fetch: () => new Response("x", { status }) });
    expect(await listModels(server.url.href)).toEqual({ up: true, models: undefined });
    status = 503;
    expect((await listModels(server.url.href)).up).toBe(false);
    status = 401;
    const refused = await listModels(server.url.href);
    expect(refused.up ? "" : refused.problem.action).toContain("--backend-api-key");
    const { href } = server.url;
    await server.stop(true);
    const gone = await listModels(href);
    expect(gone.up ? "" : gone.problem.message).toContain("nothing listens there");
  });
});
