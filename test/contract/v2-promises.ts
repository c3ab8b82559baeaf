import { expect } from "bun:test";
import { frameOf, TYPE } from "../support/raw-worker-v2.ts";
import { CHAT, chat, healthShows, v2Connection, v2Worker, type ContractPromise } from "./promise.ts";
import { v2CompressionPromises } from "./v2-compression-promises.ts";
import { v2MisbehaviourPromises } from "./v2-misbehaviour-promises.ts";
import { v2ResumePromises } from "./v2-resume-promises.ts";

const WINDOW = 256 * 1024;
/** All bytes that there are, and more than one frame of them. */
const ANY_BYTES = Uint8Array.from({ length: 200_000 }, (_, index) => (index * 7 + (index >> 8)) & 0xff);

/** Bytes of an answer that may be sent, as the relay has said. */
function bytesOf(credits: readonly { type: string; bytes?: unknown }[]): number {
  return credits.reduce((sum, { type, bytes }) => sum + (type === "credit" ? (bytes as number) : 0), 0);
}

/** What only version 2 of the link has. */
const promises: Omit<ContractPromise, "link">[] = [
  {
    title: "gives a client the status and the headers of a stream with its first byte",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay);
      const answer = chat(relay, { stream: true });
      const request = await worker.next("request");
      worker.head(request, 429, { "content-type": "text/event-stream", "retry-after": "7" });
      worker.body(request, Buffer.from("data: slow"));
      const response = await answer;
      expect([response.status, response.headers.get("retry-after")]).toEqual([429, "7"]);
      worker.body(request, Buffer.from(" down\n\n"));
      worker.end(request);
      expect(await response.text()).toBe("data: slow down\n\n");
    },
  },
  {
    title: "carries any method and any bytes both ways, as they are",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay);
      const answer = relay.fetch("/v1/files/f1?model=m&x=%20", {
        method: "PUT",
        headers: { "content-type": "audio/wav" },
        body: ANY_BYTES,
      });
      const request = await worker.next("request");
      expect(request).toMatchObject({ method: "PUT", path: "/v1/files/f1?model=m&x=%20", model: "m" });
      expect(Buffer.compare(request["bytes"] as Buffer, ANY_BYTES)).toBe(0);
      const packed = Bun.gzipSync(ANY_BYTES);
      worker.head(request, 201, { "content-type": "audio/wav", "content-encoding": "gzip" });
      worker.body(request, packed);
      worker.end(request);
      const response = await answer;
      expect(response.status).toBe(201);
      // A client's own library has undone the coding where there is a connection.
      const got = new Uint8Array(await response.arrayBuffer());
      const coded = kind.name.startsWith("in process");
      expect(Buffer.compare(coded ? Bun.gunzipSync(got) : got, ANY_BYTES)).toBe(0);
    },
  },
  {
    title: "sends no more of a body than the worker's window, and goes on with its credit",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Connection(relay);
      worker.acknowledges = false;
      await worker.register(["m"], { window: 20_000 });
      const body = JSON.stringify({ model: "m", pad: "x".repeat(60_000) });
      const answer = relay.fetch(CHAT, { method: "POST", body });
      let { number, bytes: come } = (await worker.next("part")) as unknown as {
        number: number;
        bytes: number;
      };
      expect(come).toBe(20_000);
      for (const granted of [1, 30_000, 30_000]) {
        worker.frame(TYPE.credit, number, Buffer.from(new Uint32Array([granted]).buffer).swap32());
        const allowed = come + granted;
        while (come < Math.min(allowed, body.length)) come += (await worker.next("part"))["bytes"] as number;
        expect(come).toBe(Math.min(allowed, body.length));
      }
      const request = await worker.next("request");
      expect([come, request["body"]]).toEqual([body.length, body]);
      worker.complete(request, 200, "{}");
      expect((await answer).status).toBe(200);
    },
  },
  {
    title: "asks for more of an answer when its client has taken half a window",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay);
      const answer = chat(relay, { stream: true });
      const request = await worker.next("request");
      worker.head(request, 200, { "content-type": "text/event-stream" });
      const part = Buffer.from(`data: ${"x".repeat(WINDOW / 2 - 8)}\n\n`);
      worker.body(request, part);
      worker.body(request, part);
      const reader = (await answer).body!.getReader();
      let [read, sent, credited] = [0, WINDOW, 0];
      while (sent < 4 * WINDOW) {
        for (; read < sent; read += (await reader.read()).value!.length);
        while (credited < sent - WINDOW / 2) credited += (await worker.next("credit"))["bytes"] as number;
        worker.body(request, part);
        sent += part.length;
      }
      worker.end(request);
      for (let last = await reader.read(); !last.done; last = await reader.read()) read += last.value.length;
      expect(read).toBe(sent);
      expect(credited + bytesOf(worker.inbox.items)).toBeLessThanOrEqual(sent);
    },
  },
  {
    title: "takes frames however they are cut into messages",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay);
      const answer = chat(relay);
      const number = worker.numberOf((await worker.next("request"))["request_id"]);
      const all = Buffer.concat([
        frameOf(TYPE.head, number, { status: 200, headers: { "content-type": "application/json" } }),
        frameOf(TYPE.body, number, Buffer.from('"by ')),
        frameOf(TYPE.body, number, Buffer.alloc(0)),
        frameOf(TYPE.body, number, Buffer.from('bytes"')),
        frameOf(TYPE.end, number),
      ]);
      for (const byte of all) worker.raw(Uint8Array.of(byte));
      expect(await (await answer).text()).toBe('"by bytes"');
    },
  },
  {
    title: "skips and counts types that it does not know, and skips fields",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay, { weather: { sun: true }, features: ["flying"] });
      const answer = chat(relay);
      const request = await worker.next("request");
      const number = worker.numberOf(request["request_id"]);
      for (const type of [0x00, 0x09, 0x7f, 0x86, 0xff]) worker.frame(type, number, Buffer.alloc(100_000));
      // Types of the other end are none of this one's.
      worker.frame(TYPE.request, number, {});
      worker.frame(TYPE.ping, 0, Buffer.alloc(8));
      worker.complete(request, 200, "{}");
      expect((await answer).status).toBe(200);
      worker.cut();
      await healthShows<{ workers: { is_suspended: boolean }[] }>(
        relay,
        ({ workers }) => workers[0]?.is_suspended === true,
      );
      const next = await v2Connection(relay);
      // register, three below 0x80, the request, and head, body, end; credits as far as there were some.
      const credits = Math.ceil(Buffer.byteLength(String(request["body"])) / 65_536);
      expect(await next.goOn(worker)).toMatchObject({ type: "resumed", received: 8 + credits });
    },
  },
  {
    title: "acknowledges in time, so that a worker need not keep more",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay);
      const answer = chat(relay, { stream: true });
      const request = await worker.next("request");
      worker.head(request, 200, { "content-type": "text/event-stream" });
      worker.body(request, Buffer.from("data: first\n\n"));
      const reader = (await answer).body!.getReader();
      let kept = 0;
      for (let n = 0; n < 1_000; n++) {
        worker.body(request, Buffer.from(`data: ${n}\n\n`));
        if (n % 50 === 49) await reader.read();
        kept = Math.max(kept, worker.unacknowledged);
      }
      worker.end(request);
      while (!(await reader.read()).done);
      // The acknowledgements that came last may still be on their way, but no whole batch is missing.
      await healthShows(relay, () => worker.unacknowledged < 64);
      expect(kept).toBeGreaterThan(0);
    },
  },
  {
    title: "says all that it has to say before it closes a link",
    async keep(kind) {
      await using relay = await kind.start({ drainTimeoutMs: 50 });
      const worker = await v2Worker(relay);
      const answer = chat(relay).catch((error: unknown) => error);
      const request = await worker.next("request");
      const drained = relay.drain();
      expect((await worker.closed).code).toBe(1012);
      expect(await worker.next("graceful_shutdown")).toMatchObject({ reason: "server_shutdown" });
      expect(await worker.next("cancel")).toMatchObject({
        request_id: request["request_id"],
        reason: "server_shutdown",
      });
      await drained;
      await answer;
    },
  },
];

export const v2Promises: ContractPromise[] = [
  ...promises.map((promise): ContractPromise => ({ ...promise, link: "v2" })),
  ...v2CompressionPromises,
  ...v2MisbehaviourPromises,
  ...v2ResumePromises,
];
