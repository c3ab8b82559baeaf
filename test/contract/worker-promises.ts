import { expect } from "bun:test";
import { startFakeBackend, type FakeBackend } from "../support/fake-backend.ts";
import type { LinkVersion } from "../support/raw-worker.ts";
import { number32, TYPE } from "../support/raw-worker-v2.ts";
import { startRawRelay, type RawLink, type RawRelay } from "../support/raw-relay.ts";

export interface WorkerSettings {
  maxConcurrency?: number;
  compress?: boolean;
}

/** Our worker, in whatever way it runs; its name is "w", and it offers what its backend lists. */
export interface WorkerKind {
  name: string;
  start(relayUrl: string, backendUrl: string, settings: WorkerSettings): AsyncDisposable;
}

/** One thing that every worker does. */
export interface WorkerPromise {
  title: string;
  /** The version of the link that it is about, if it is about one alone. */
  link?: LinkVersion;
  settings?: WorkerSettings;
  keep(scene: Scene): Promise<void>;
}

export interface Scene {
  relay: RawRelay;
  backend: FakeBackend;
  /** Of a worker that has registered. */
  link: RawLink;
}

export async function keepPromise(
  promise: WorkerPromise,
  kind: WorkerKind,
  version: LinkVersion,
): Promise<void> {
  const { settings = {} } = promise;
  await using backend = await startFakeBackend(["m"]);
  await using relay = startRawRelay(version);
  await using stack = new AsyncDisposableStack();
  stack.use(kind.start(relay.url, backend.url, { maxConcurrency: 4, ...settings }));
  const link = await relay.nextLink();
  await link.accept(settings.compress === true ? { features: ["deflate"] } : {});
  await link.next("models_update");
  await promise.keep({ relay, backend, link });
}

const EVENT_STREAM = { "content-type": "text/event-stream" };
const WINDOW = 256 * 1024;

export const workerPromises: WorkerPromise[] = [
  {
    title: "registers with its name, its models and its limit, and says its models when it is asked",
    async keep({ relay, backend, link }) {
      link.close(1012, "restart");
      const next = await relay.nextLink();
      expect(await next.accept()).toMatchObject({
        worker_name: "w",
        models: ["m"],
        max_concurrent: 4,
        current_load: 0,
        protocol_version: relay.version === "v1" ? "2026-04-bridge-v1" : "modelrelay.v2",
      });
      await next.next("models_update");
      backend.models.push("n");
      next.say({ type: "models_refresh" });
      expect(await next.next("models_update")).toMatchObject({ models: ["m", "n"] });
    },
  },
  {
    title: "hands a request to its backend as it is, and the answer back as it is",
    async keep({ backend, link }) {
      const body = '{ "model":"m",\n "x": "\\u00e9é😀", "n": 1.0 }';
      link.request("r1", { path: "/v1/chat/completions?a=%20", body });
      const asked = await backend.next();
      expect([asked.method, asked.path, asked.body.toString()]).toEqual([
        "POST",
        "/v1/chat/completions?a=%20",
        body,
      ]);
      asked.head(418, { "content-type": "application/json", "x-backend": "yes", "content-length": "13" });
      asked.write('{"é":"😀"}');
      asked.end();
      const answer = await link.answer("r1");
      expect([answer.status, answer.headers["x-backend"], answer.body.toString()]).toEqual([
        418,
        "yes",
        '{"é":"😀"}',
      ]);
    },
  },
  {
    title: "passes each piece of a stream on when it comes",
    async keep({ backend, link }) {
      link.request("r1", { streaming: true });
      const asked = await backend.next();
      asked.head(200, EVENT_STREAM);
      for (const text of ["data: é😀\n\n", ": odd\r\n\r\n", "data: [DONE]\n\n"]) {
        asked.write(text);
        const { chunk } = await link.next("response_chunk", "r1");
        expect(Buffer.from(chunk as string | Buffer).toString()).toBe(text);
      }
      asked.end();
      expect((await link.answer("r1")).status).toBe(200);
    },
  },
  {
    title: "gives a streaming request its backend's own error, with status and headers",
    async keep({ backend, link }) {
      link.request("r1", { streaming: true });
      const asked = await backend.next();
      asked.head(429, { "content-type": "application/json", "retry-after": "7" });
      asked.write('{"error":{"message":"slow down"}}');
      asked.end();
      const answer = await link.answer("r1");
      expect([answer.status, answer.headers["retry-after"], answer.body.toString()]).toEqual([
        429,
        "7",
        '{"error":{"message":"slow down"}}',
      ]);
    },
  },
  {
    title: "refuses what it does not serve, and what is above its limit",
    settings: { maxConcurrency: 1 },
    async keep({ backend, link }) {
      link.request("r1", { model: "other" });
      expect((await link.answer("r1")).status).toBe(404);
      link.request("r2");
      const asked = await backend.next();
      link.request("r3");
      expect((await link.answer("r3")).status).toBe(503);
      asked.answer(200, {});
      expect((await link.answer("r2")).status).toBe(200);
    },
  },
  {
    title: "closes its backend's connection when a request is taken back, and has room again",
    settings: { maxConcurrency: 1 },
    async keep({ backend, link }) {
      link.request("r1", { streaming: true });
      const asked = await backend.next();
      asked.head(200, EVENT_STREAM);
      asked.write("data: 1\n\n");
      await link.next("response_chunk", "r1");
      expect(await link.ping()).toBe(1);
      link.cancel("r1");
      await asked.closed;
      if (link.version === "v1") expect((await link.answer("r1")).status).toBe(499);
      link.request("r2");
      (await backend.next()).answer(200, {});
      expect((await link.answer("r2")).status).toBe(200);
      expect(await link.ping()).toBe(0);
      expect(
        link.inbox.items.filter((message) => message["request_id"] === "r1" && message.type !== "head"),
      ).toEqual([]);
    },
  },
  {
    title: "finishes what runs when the relay goes, closes with 1000, and dials again",
    async keep({ relay, backend, link }) {
      link.request("r1");
      const asked = await backend.next();
      link.say({ type: "graceful_shutdown", reason: "restart", drain_timeout_secs: 30 });
      expect(await link.next("models_update")).toMatchObject({ models: [] });
      asked.answer(200, { late: true });
      expect((await link.answer("r1")).body.toString()).toBe('{"late":true}');
      expect((await link.closed).code).toBe(1000);
      await (await relay.nextLink()).accept();
    },
  },
  {
    title: "ends the link with 1002 when the relay speaks nonsense, and dials again",
    async keep({ relay, link }) {
      link.raw(link.version === "v1" ? "{" : "text");
      expect((await link.closed).code).toBe(1002);
      await (await relay.nextLink()).accept();
    },
  },
  {
    title: "gives up what ran on a link that was cut, and dials again",
    link: "v1",
    async keep({ relay, backend, link }) {
      link.request("r1");
      const asked = await backend.next();
      link.cut();
      await asked.closed;
      expect((await (await relay.nextLink()).accept())["current_load"]).toBe(0);
    },
  },
  {
    title: "goes on after a cut with all that runs, and sends again what was lost",
    link: "v2",
    async keep({ relay, backend, link }) {
      link.request("r1", { streaming: true });
      const asked = await backend.next();
      asked.head(200, EVENT_STREAM);
      let [before, text] = [link, ""];
      for (let n = 0; n < 20; n++) {
        asked.write(`data: ${n}\n\n`);
        const { chunk } = await before.next("response_chunk", "r1");
        text += String(chunk);
        before.cut();
        const next = await relay.nextLink();
        expect(await next.goOn(before)).toMatchObject({ session: "s".repeat(32) });
        before = next;
      }
      asked.end();
      await before.next("response_complete", "r1");
      expect(text).toBe(Array.from({ length: 20 }, (_, n) => `data: ${n}\n\n`).join(""));
      expect(backend.connections()).toBeGreaterThan(0);
    },
  },
  {
    title: "drops what ran when the relay does not know its session, and registers anew",
    link: "v2",
    async keep({ relay, backend, link }) {
      link.request("r1");
      const asked = await backend.next();
      link.cut();
      const next = await relay.nextLink();
      await next.next("resume");
      next.frame(TYPE.refused, 0, { reason: "restarted" });
      await asked.closed;
      const again = await relay.nextLink();
      expect(await again.accept()).toMatchObject({ current_load: 0 });
      again.request("r2");
      (await backend.next()).answer(200, {});
      expect((await again.answer("r2")).status).toBe(200);
    },
  },
  {
    title: "sends no more of an answer than it has credit for, and goes on with more",
    link: "v2",
    async keep({ backend, link }) {
      link.acknowledges = false;
      link.request("r1");
      const asked = await backend.next();
      const body = Buffer.alloc(3 * WINDOW, "0123456789abcdef");
      asked.head(200, { "content-type": "application/octet-stream" });
      asked.write(body);
      asked.end();
      const come: Buffer[] = [];
      const length = () => come.reduce((sum, part) => sum + part.length, 0);
      const take = async (bytes: number): Promise<void> => {
        while (length() < bytes) come.push((await link.next("response_chunk", "r1"))["chunk"] as Buffer);
      };
      await take(WINDOW);
      for (let granted = WINDOW; granted < body.length; granted += WINDOW / 2) {
        // What had come before the answer to a ping is all that came without credit.
        await link.ping();
        expect([length(), link.inbox.items.filter(({ type }) => type === "response_chunk").length]).toEqual([
          granted,
          0,
        ]);
        link.frame(TYPE.credit, link.numberOf("r1"), number32(WINDOW / 2));
        await take(granted + WINDOW / 2);
      }
      // Without credit the worker does not look whether its backend has ended.
      link.frame(TYPE.credit, link.numberOf("r1"), number32(1));
      await link.next("response_complete", "r1");
      expect(Buffer.concat(come).equals(body)).toBe(true);
    },
  },
  {
    title: "asks for more of a request's body as it takes it",
    link: "v2",
    async keep({ backend, link }) {
      link.frame(TYPE.request, 1, {
        request_id: "r1",
        model: "m",
        method: "PUT",
        path: "/v1/files?model=m",
        headers: { "content-type": "audio/wav" },
        body_bytes: 2 * WINDOW,
      });
      const part = new Uint8Array(65_536).fill(0xff);
      for (let sent = 0, credit = WINDOW; sent < 2 * WINDOW; sent += part.length) {
        while (credit < sent + part.length)
          credit += (await link.inbox.next(({ type }) => type === "credit"))["bytes"] as number;
        link.frame(TYPE.body, 1, part);
      }
      link.frame(TYPE.end, 1);
      const asked = await backend.next();
      expect([asked.method, asked.body.length, asked.body.every((byte) => byte === 0xff)]).toEqual([
        "PUT",
        2 * WINDOW,
        true,
      ]);
    },
  },
  {
    title: "skips types and fields that it does not know, and frames for requests that are over",
    link: "v2",
    async keep({ backend, link }) {
      for (const type of [0x00, 0x42, 0x7f, 0xff]) link.frame(type, 9, Buffer.alloc(1_000));
      link.say({ type: "weather", sun: true });
      link.request("r1");
      (await backend.next()).answer(200, {});
      await link.answer("r1");
      link.frame(TYPE.credit, 1, number32(5));
      link.frame(TYPE.body, 1, Buffer.from("late"));
      link.cancel("r1");
      link.request("r2");
      (await backend.next()).answer(200, { fine: true });
      expect((await link.answer("r2")).body.toString()).toBe('{"fine":true}');
    },
  },
  {
    title: "packs what it sends where both ends compress, piece by piece, byte by byte the same",
    link: "v2",
    settings: { compress: true },
    async keep({ relay, backend, link }) {
      link.request("r1", { streaming: true });
      const asked = await backend.next();
      asked.head(200, EVENT_STREAM);
      const event = (n: number) => `data: {"choices":[{"delta":{"content":"wörd ${n}"}}],"model":"m"}\n\n`;
      let [now, text] = [link, ""];
      for (let n = 0; n < 40; n++) {
        asked.write(event(n));
        text += String((await now.next("response_chunk", "r1"))["chunk"]);
        if (n !== 20) continue;
        expect(now.packed).toBeGreaterThan(20);
        now.cut();
        const next = await relay.nextLink();
        await next.goOn(now);
        now = next;
      }
      asked.end();
      await now.next("response_complete", "r1");
      expect(text).toBe(Array.from({ length: 40 }, (_, n) => event(n)).join(""));
      expect(now.packed).toBeGreaterThan(10);
    },
  },
];
