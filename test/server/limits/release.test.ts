import { connect } from "node:net";
import { describe, expect, test } from "bun:test";
import type { RelaySettings } from "../../support/relays.ts";
import { CHAT, HI, startLimited, type Limited } from "./limited-relay.ts";

const STREAM = { ...HI, stream: true };
const EVENT = 'data: {"choices":[]}\n\n';

/** One way in which a request ends. */
interface Way {
  title: string;
  settings?: RelaySettings;
  /** Sends one request and sees it end. */
  go: (limited: Limited) => Promise<void>;
}

/** Whatever comes of a request that is cut. */
async function settled(answer: Promise<Response>): Promise<void> {
  await answer.then((response) => response.text()).catch(() => {});
}

async function statusOf(answer: Promise<Response>): Promise<number> {
  const response = await answer;
  await response.text();
  return response.status;
}

/** Begins a stream and reads its first bytes. */
async function begunStream(limited: Limited, abort?: AbortController) {
  const worker = await limited.worker();
  const sent = limited.post(CHAT, STREAM, abort === undefined ? {} : { signal: abort.signal });
  const request = await worker.next("request");
  worker.chunk(request, EVENT, "text/event-stream");
  const response = await sent;
  const reader = response.body!.getReader();
  await reader.read();
  return { worker, request, reader };
}

const WAYS: readonly Way[] = [
  {
    title: "is answered whole",
    async go(limited) {
      const worker = await limited.worker();
      const answer = limited.post(CHAT, HI);
      worker.complete(await worker.next("request"), 200, "{}");
      expect(await statusOf(answer)).toBe(200);
    },
  },
  {
    title: "is answered with an error of the backend's",
    async go(limited) {
      const worker = await limited.worker();
      const answer = limited.post(CHAT, HI);
      worker.complete(await worker.next("request"), 500, "{}");
      expect(await statusOf(answer)).toBe(500);
    },
  },
  {
    title: "is streamed to its end",
    async go(limited) {
      const { worker, request, reader } = await begunStream(limited);
      worker.complete(request);
      while (!(await reader.read()).done);
    },
  },
  {
    title: "is no JSON",
    async go(limited) {
      expect(await statusOf(limited.post(CHAT, "{"))).toBe(400);
    },
  },
  {
    title: "asks for a model that nobody offers",
    async go(limited) {
      expect(await statusOf(limited.post(CHAT, { ...HI, model: "absent" }))).toBe(404);
    },
  },
  {
    title: "is too large",
    settings: { maxBody: 100 },
    async go(limited) {
      expect(await statusOf(limited.post(CHAT, "x".repeat(101)))).toBe(413);
    },
  },
  {
    title: "finds the queue full",
    settings: { maxQueueLen: 0 },
    async go(limited) {
      await limited.worker({ current_load: 1 });
      expect(await statusOf(limited.post(CHAT, HI))).toBe(503);
    },
  },
  {
    title: "waits its whole time in the queue",
    settings: { queueTimeoutMs: 20 },
    async go(limited) {
      await limited.worker({ current_load: 1 });
      expect(await statusOf(limited.post(CHAT, HI))).toBe(503);
    },
  },
  {
    title: "takes longer than it may",
    settings: { requestTimeoutMs: 20 },
    async go(limited) {
      const worker = await limited.worker();
      const answer = limited.post(CHAT, HI);
      await worker.next("request");
      expect(await statusOf(answer)).toBe(504);
    },
  },
  {
    title: "needs a link that no worker has",
    async go(limited) {
      await limited.worker();
      expect(await statusOf(limited.post("/v1/files/x?model=m", "", { method: "DELETE" }))).toBe(502);
    },
  },
  {
    title: "fails at its worker",
    async go(limited) {
      const worker = await limited.worker();
      const answer = limited.post(CHAT, HI);
      const { request_id: id } = await worker.next("request");
      worker.say({ type: "error", request_id: id, code: "backend_unreachable", message: "broken" });
      expect(await statusOf(answer)).toBeGreaterThanOrEqual(500);
    },
  },
  {
    title: "loses its worker in the middle of a stream",
    settings: { linkGraceMs: 0 },
    async go(limited) {
      const { worker, reader } = await begunStream(limited);
      worker.cut();
      while (!(await reader.read()).done);
    },
  },
  {
    title: "loses its worker before the first byte, and is answered by the next",
    settings: { linkGraceMs: 0 },
    async go(limited) {
      const first = await limited.worker();
      const answer = limited.post(CHAT, HI);
      await first.next("request");
      first.cut();
      const second = await limited.worker();
      const request = await second.next("request");
      // It is one request still: nobody else may come.
      expect(await statusOf(limited.post(CHAT, HI))).toBe(429);
      second.complete(request, 200, "{}");
      expect(await statusOf(answer)).toBe(200);
    },
  },
  {
    title: "loses its workers until it is given up",
    settings: { linkGraceMs: 0 },
    async go(limited) {
      let worker = await limited.worker();
      const answer = limited.post(CHAT, HI);
      for (let losses = 0; losses < 4; losses++) {
        await worker.next("request");
        worker.cut();
        if (losses < 3) worker = await limited.worker();
      }
      expect(await statusOf(answer)).toBe(503);
    },
  },
  {
    title: "is left by its client while it waits for a worker",
    async go(limited) {
      await limited.worker({ current_load: 1 });
      const abort = new AbortController();
      const answer = limited.post(CHAT, HI, { signal: abort.signal });
      while (limited.relay.relay.core.queueLength === 0) await limited.post(CHAT, "{");
      abort.abort();
      await settled(answer);
    },
  },
  {
    title: "is left by its client before the first byte",
    async go(limited) {
      const worker = await limited.worker();
      const abort = new AbortController();
      const answer = limited.post(CHAT, HI, { signal: abort.signal });
      await worker.next("request");
      abort.abort();
      await settled(answer);
      await worker.next("cancel");
    },
  },
  {
    title: "is left by its client in the middle of a stream",
    async go(limited) {
      const abort = new AbortController();
      const { worker } = await begunStream(limited, abort);
      abort.abort();
      await worker.next("cancel");
    },
  },
  {
    title: "is left by its client while its body is sent",
    async go(limited) {
      const socket = connect(limited.relay.port, "127.0.0.1");
      socket.write(`POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{"model"`);
      // It counts from its head on.
      while ((await statusOf(limited.post(CHAT, "{"))) !== 429);
      socket.destroy();
    },
  },
  {
    title: "has a client that does not read",
    settings: { maxResponseBuffer: 1_024 },
    async go(limited) {
      const worker = await limited.worker();
      const socket = connect(limited.relay.port, "127.0.0.1");
      socket.on("error", () => {});
      const body = JSON.stringify(STREAM);
      socket.pause();
      socket.write(`POST ${CHAT} HTTP/1.1\r\nhost: x\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      const request = await worker.next("request");
      while (!worker.inbox.items.some(({ type }) => type === "cancel")) {
        worker.chunk(request, `data: ${"x".repeat(60_000)}\n\n`, "text/event-stream");
        await new Promise((resolve) => setImmediate(resolve));
      }
      socket.destroy();
    },
  },
  {
    title: "is refused for the tokens that it asks for",
    async go(limited) {
      limited.relay.reload({ limits: { anonymous: {}, relay: { concurrency: 1, tokensPerMinute: 10 } } });
      expect(await statusOf(limited.post(CHAT, HI))).toBe(429);
      limited.relay.reload({ limits: { anonymous: {}, relay: { concurrency: 1 } } });
    },
  },
];

/** Sends what is refused at once until it is not refused for the sake of another. */
async function becomesFree(limited: Limited): Promise<void> {
  for (;;) {
    const response = await limited.post(CHAT, "{");
    await response.text();
    if (response.status === 400) return;
    expect(response.status).toBe(429);
  }
}

describe("A place among the requests at once is free again when a request", () => {
  for (const { title, settings, go } of WAYS) {
    test(title, async () => {
      await using limited = startLimited({ relay: { concurrency: 1 } }, settings);
      await go(limited);
      await becomesFree(limited);
      limited.cutWorkers();
      // Nothing was given back twice either.
      const { reader } = await begunStream(limited);
      expect(await statusOf(limited.post(CHAT, "{"))).toBe(429);
      await reader.cancel();
      await becomesFree(limited);
    });
  }

  test("is ended by a drain", async () => {
    await using limited = startLimited({ relay: { concurrency: 1 } }, { drainTimeoutMs: 0 });
    const { reader } = await begunStream(limited);
    const app = limited.relay.relay;
    await app.drain(0);
    while (!(await reader.read()).done);
    await becomesFree(limited);
  });
});
