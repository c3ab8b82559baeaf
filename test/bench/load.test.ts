import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { startBackend } from "../../bench/backend.ts";
import {
  STREAM_END,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
  encodeTokens,
} from "../../bench/completion.ts";
import { Connection, encodePost } from "../../bench/connection.ts";
import { Generator } from "../../bench/generator.ts";
import type { RequestsJob, StreamsJob } from "../../bench/job.ts";
import { runJob } from "../../bench/load.ts";

/** A backend in a process of its own, as in a run, so that stamps cross a process boundary. */
let backend: Bun.Subprocess<"ignore", "pipe", "inherit">;
let baseUrl = "";

beforeAll(async () => {
  backend = Bun.spawn([process.execPath, join(import.meta.dir, "../../bench/backend.ts")], {
    stdin: "ignore",
    stdout: "pipe",
  });
  let said = "";
  for await (const piece of backend.stdout) {
    said += new TextDecoder().decode(piece);
    if (said.includes("\n")) break;
  }
  baseUrl = said.trim().split(" ").at(-1) ?? "";
});

afterAll(async () => {
  backend.kill();
  await backend.exited;
});

/** What a client said before the way to the backend was open. */
const HELD: string[] = [];

const requests = (job: Partial<RequestsJob> = {}): RequestsJob => ({
  kind: "requests",
  baseUrl,
  connections: 2,
  warmupMs: 0,
  durationMs: 150,
  requestBytes: 300,
  responseBytes: 64,
  ...job,
});

const streams = (job: Partial<StreamsJob> = {}): StreamsJob => ({
  kind: "streams",
  baseUrl,
  connections: 3,
  warmupMs: 0,
  durationMs: 200,
  intervalMs: 0,
  tokens: 500,
  burst: 1,
  rampMs: 0,
  ...job,
});

describe("the generator, whole requests", () => {
  test("counts exactly the requests that the backend answered", async () => {
    let answered = 0;
    using counting = startBackend(0);
    const front = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      async fetch(request) {
        answered++;
        return fetch(`http://127.0.0.1:${counting.port}/v1/chat/completions`, {
          method: "POST",
          body: await request.arrayBuffer(),
        });
      },
    });
    const result = await runJob(requests({ baseUrl: `http://127.0.0.1:${front.port}`, connections: 5 }));
    await front.stop(true);
    expect(result.requestsTotal).toBe(answered);
    expect(result.failures).toBe(0);
    // The last request of each connection ends after the window.
    expect(result.requestsTotal - result.requests).toBeWithin(1, 6);
    expect(result.latencyMs.count).toBe(result.requests);
  });

  test("measures a known delay of 40 ms, and no request fits in before it", async () => {
    const { latencyMs, requests: count } = await runJob(
      requests({ connections: 1, durationMs: 400, delayMs: 40 }),
    );
    expect(latencyMs.p50).toBeWithin(39, 60);
    expect(count).toBeWithin(3, 10);
  });

  test("moves bodies of 1 MB both ways and checks that they arrive whole", async () => {
    const result = await runJob(
      requests({ requestBytes: 1_000_000, responseBytes: 1_000_000, durationMs: 200 }),
    );
    expect(result.failures).toBe(0);
    expect(result.requests).toBeGreaterThan(0);
  });

  test("counts a short answer, an error status and a cut connection as failures", async () => {
    let turn = 0;
    const server = Bun.listen<{ asked: string }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        data(socket) {
          turn++;
          if (turn === 1) socket.write("HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\nbusy");
          else if (turn === 2)
            socket.write('HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{"usage":{"prompt_tokens":300}}');
          else socket.end("HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n{");
        },
      },
    });
    const result = await runJob(requests({ baseUrl: `http://127.0.0.1:${server.port}`, connections: 1 }));
    server.stop(true);
    expect(result.requests).toBe(0);
    expect(result.failures).toBeGreaterThan(2);
    expect(result.failure).toBe("status 503: busy");
  });

  test("reports an address where nobody listens instead of hanging", async () => {
    const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = probe;
    probe.stop(true);
    const result = await runJob(requests({ baseUrl: `http://127.0.0.1:${port}`, durationMs: 50 }));
    expect([result.requests, result.requestsTotal]).toEqual([0, 0]);
    expect(result.failures).toBeGreaterThan(0);
  });
});

describe("the generator, streams", () => {
  test.each([1, 16])("reads whole streams, %d tokens written together, to the last token", async (burst) => {
    const result = await runJob(streams({ burst }));
    expect(result.failures).toBe(0);
    expect(result.requestsTotal).toBeGreaterThan(2);
    expect(result.tokensTotal).toBe(result.requestsTotal * 500);
    expect(result.tokens).toBeWithin(1, result.tokensTotal);
  });

  test("sees the tokens of paced streams at the pace asked for", async () => {
    const result = await runJob(streams({ connections: 10, intervalMs: 20, durationMs: 600, rampMs: 40 }));
    expect(result.failures).toBe(0);
    expect(result.requestsTotal).toBe(10);
    // 10 streams for 600 ms at 20 ms are 300 tokens; the first and last of each may fall outside.
    expect(result.tokens).toBeWithin(270, 310);
    expect(result.delayMs.count).toBe(result.tokens);
  });

  test("measures no delay where there is none, and never a negative one beyond the clocks' difference", async () => {
    const { delayMs } = await runJob(streams({ connections: 10, intervalMs: 20, durationMs: 600 }));
    expect(delayMs.p50).toBeWithin(-0.1, 5);
  });

  test("measures a known delay: tokens backdated by 0 to 99 ms in turn", async () => {
    const { delayMs } = await runJob(
      streams({ connections: 20, intervalMs: 5, durationMs: 1_000, backdateMs: 100 }),
    );
    expect(delayMs.count).toBeGreaterThan(2_000);
    expect(delayMs.p50).toBeWithin(45, 60);
    expect(delayMs.p99).toBeWithin(96, 115);
  });

  test.each([
    [
      "loses a token",
      (n: number) => [encodeTokens(0, n - 2, () => 0), encodeTokens(n - 1, 1, () => 0), STREAM_END],
      /lost, repeated or out of order/,
    ],
    ["ends early", (n: number) => [encodeTokens(0, n - 1, () => 0), STREAM_END], /499 tokens instead of 500/],
    ["ends without [DONE]", (n: number) => [encodeTokens(0, n, () => 0)], /without \[DONE\]/],
  ])("counts a stream that %s as a failure", async (_what, answer, failure) => {
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) =>
        new Response(Buffer.concat(answer(decodeQuestion(await request.bytes()).bench.tokens ?? 0))),
    });
    const result = await runJob(
      streams({ baseUrl: `http://127.0.0.1:${server.port}`, connections: 1, durationMs: 50 }),
    );
    await server.stop(true);
    expect(result.requests).toBe(0);
    expect(result.failure).toMatch(failure);
  });
});

describe("Connection", () => {
  test("hands on every byte of a stream and of an answer, and keeps its connection", async () => {
    let dialled = 0;
    // Passes bytes on in pieces of 1,000, so that events and chunk sizes are cut anywhere.
    const front = Bun.listen<{ back?: Bun.Socket }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        async open(client) {
          dialled++;
          client.data = {};
          client.data.back = await Bun.connect({
            hostname: "127.0.0.1",
            port: Number(new URL(baseUrl).port),
            socket: {
              data(_back, bytes) {
                for (let at = 0; at < bytes.length; at += 1_000) client.write(bytes.subarray(at, at + 1_000));
              },
            },
          });
          client.data.back.write(HELD.splice(0).join(""));
        },
        data(client, bytes) {
          if (client.data.back === undefined) HELD.push(bytes.toString());
          else client.data.back.write(bytes);
        },
      },
    });
    const url = new URL(`http://127.0.0.1:${front.port}`);
    const connection = new Connection(url);
    const parts: string[] = [];
    const stream = encodePost(url, encodeQuestion({ tokens: 300 }, true, 300));
    const streamed = await connection.exchange(stream, (from, start, end) =>
      parts.push(from.toString("latin1", start, end)),
    );
    const answer = await connection.exchange(
      encodePost(url, encodeQuestion({ responseBytes: 5_000 }, false, 400)),
    );
    connection.close();
    front.stop(true);
    const stampless = (text: string) => text.replaceAll(/ \d{16} /g, " S ");
    const wanted = Buffer.concat([encodeTokens(0, 300, () => 1e12), STREAM_END]).toString();
    expect(stampless(parts.join(""))).toBe(stampless(wanted));
    expect(streamed.bodyBytes).toBe(wanted.length);
    expect(answer.body.equals(encodeAnswer(5_000, 400))).toBe(true);
    expect(dialled).toBe(1);
  });
});

describe("the generator's process", () => {
  test("runs one job after the other and outlives a stop", async () => {
    await using generator = new Generator();
    expect((await generator.run(requests({ durationMs: 50 }))).failures).toBe(0);
    const stopped = generator.run(requests({ durationMs: 30_000 })).catch((error: unknown) => error);
    await generator[Symbol.asyncDispose]();
    expect(await stopped).toHaveProperty("message", "Cannot run the job: the generator was stopped");
    expect((await generator.run(streams({ durationMs: 50 }))).failures).toBe(0);
  });
});
