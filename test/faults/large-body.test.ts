import { expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { startRelay } from "../../src/server/index.ts";
import { connectRawWorker, relayConfig } from "../support/relays.ts";
import { startFleet } from "./processes.ts";

const BODY_BYTES = 100_000_000;

/** A body that is longest on the link: each quote and line break in it is escaped once more there. */
function largeBody(): Buffer {
  const line = JSON.stringify('He said: "\\"漢字 🙂\\"",\n\t"twice"\r\n').slice(1, -1);
  const head = '{"model":"m","messages":[{"role":"user","content":"';
  const tail = '"}]}';
  const room = BODY_BYTES - Buffer.byteLength(head) - Buffer.byteLength(tail);
  const unit = Buffer.byteLength(line);
  const filler = "x".repeat(room % unit);
  return Buffer.from(head + line.repeat(Math.floor(room / unit)) + filler + tail);
}

function hash(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

test("a request body of 100 MB full of quotes and line breaks reaches the backend exactly, and nothing stays held", async () => {
  const arrived = Promise.withResolvers<{ length: number; hash: string }>();
  using backend = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    maxRequestBodySize: 2 * BODY_BYTES,
    async fetch(request) {
      if (request.method === "GET") return Response.json({ data: [{ id: "m" }] });
      const bytes = await request.bytes();
      if (bytes.length > 1_000) arrived.resolve({ length: bytes.length, hash: hash(bytes) });
      return Response.json({ got: bytes.length });
    },
  });
  await using fleet = await startFleet(backend.url.origin, { worker: ["--max-concurrency=4"] });
  const body = largeBody();
  expect(body.length).toBe(BODY_BYTES);
  const post = (bytes: Uint8Array<ArrayBuffer> | string) =>
    fetch(`${fleet.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: bytes,
    });
  const response = await post(body as Buffer<ArrayBuffer>);
  expect([response.status, await response.json()]).toEqual([200, { got: BODY_BYTES }]);
  expect(await arrived.promise).toEqual({ length: BODY_BYTES, hash: hash(body) });
  const health = await fleet.health((now) => now["requests_in_flight"] === 0);
  expect([health["bytes_held"], health["workers_connected"]]).toEqual([0, 1]);
  expect(fleet.worker.log).not.toContain("Lost the link");
  expect((await post('{"model":"m"}')).status).toBe(200);
}, 30_000);

test("a worker that takes no parts gets no body that would end its link, and keeps its link", async () => {
  const relay = startRelay(relayConfig({}), { clock: systemClock, log: silentLog });
  try {
    const worker = await connectRawWorker(relay.url);
    await worker.register(["m"]);
    // 9 MB, of which each byte but a few is escaped: more than 16 MiB on the link.
    const content = "\n".repeat(9_000_000);
    const post = (body: string) =>
      fetch(`${relay.url}/v1/chat/completions`, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body,
      });
    const refused = await post(`{"model":"m",${content}"messages":[]}`);
    const { error } = (await refused.json()) as { error: { code: string } };
    expect([refused.status, error.code]).toEqual([502, "worker_link_too_small"]);
    // What fits goes over the same link, however long it is.
    const served = post(`{"model":"m","messages":"${"x".repeat(15_000_000)}"}`);
    const request = await worker.next("request");
    expect(String(request["body"]).length).toBeGreaterThan(15_000_000);
    worker.complete(request, 200, "{}");
    expect((await served).status).toBe(200);
  } finally {
    await relay.stop();
  }
});
