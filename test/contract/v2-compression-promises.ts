import { expect } from "bun:test";
import { deflateRawSync } from "node:zlib";
import { frameOf, TYPE, type RawWorkerV2 } from "../support/raw-worker-v2.ts";
import { chat, healthShows, v2Connection, v2Worker, type ContractPromise } from "./promise.ts";

const EVENTS = Array.from(
  { length: 300 },
  (_, n) =>
    `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","model":"m","choices":[{"index":0,"delta":{"content":" wörd${n * n}"}}]}\n\n`,
);

/** Whether every byte came, of a stream whose events were packed one by one. */
function packEvents(worker: RawWorkerV2, number: number, events: readonly string[]): void {
  for (const event of events) worker.pack([TYPE.body, number, Buffer.from(event)]);
}

const MIB = 1024 * 1024;

/** Payloads of packed frames that are refused, and how. */
const BOMBS: { title: string; code: number; payload(): Uint8Array }[] = [
  {
    title: "that grows to 100 MiB",
    code: 4003,
    // Frames of type 0 with nothing in them, which everybody skips.
    payload: () => deflateRawSync(Buffer.alloc(100 * MIB)),
  },
  { title: "that is no DEFLATE", code: 1002, payload: () => Buffer.from("hello, this is not packed") },
  {
    title: "with half a frame in it",
    code: 1002,
    payload: () => deflateRawSync(frameOf(TYPE.pong, 0, Buffer.alloc(12)).subarray(0, 10)),
  },
  {
    title: "with another one in it",
    code: 1002,
    payload: () => deflateRawSync(frameOf(TYPE.packed, 0, deflateRawSync(frameOf(0xee, 0)))),
  },
];

/** What a relay does with a worker that asks for compression. */
const promises: Omit<ContractPromise, "link">[] = [
  {
    title: "takes and sends packed frames, byte by byte the same, where a worker names deflate",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Connection(relay);
      const ack = await worker.register(["m"], { features: ["flying", "deflate"] });
      expect(ack["features"]).toEqual(["deflate"]);
      const pad = "the same again, ".repeat(20_000);
      const answer = chat(relay, { stream: true, pad });
      const request = await worker.next("request");
      expect(JSON.parse(String(request["body"]))).toMatchObject({ model: "m", pad });
      expect(worker.packed).toBeGreaterThan(0);
      const number = worker.numberOf(request["request_id"]);
      worker.pack(
        [TYPE.head, number, { status: 200, headers: { "content-type": "text/event-stream" } }],
        [TYPE.body, number, Buffer.from(EVENTS[0]!)],
      );
      const reader = (await answer).body!.getReader();
      let text = new TextDecoder().decode((await reader.read()).value);
      expect(text).toBe(EVENTS[0]!);
      // Packed or not, as the worker likes.
      worker.frame(TYPE.body, number, Buffer.from(EVENTS[1]!));
      packEvents(worker, number, EVENTS.slice(2));
      worker.pack([TYPE.end, number]);
      const decoder = new TextDecoder();
      for (let part = await reader.read(); !part.done; part = await reader.read())
        text += decoder.decode(part.value, { stream: true });
      expect(text).toBe(EVENTS.join(""));
    },
  },
  {
    title: "packs nothing for a worker that does not ask, and skips what it packs",
    async keep(kind) {
      await using relay = await kind.start();
      const worker = await v2Worker(relay);
      const answer = chat(relay, { pad: "x".repeat(100_000) });
      const request = await worker.next("request");
      expect(worker.packed).toBe(0);
      worker.frame(TYPE.packed, 0, deflateRawSync(frameOf(TYPE.end, 0)));
      worker.complete(request, 200, "{}");
      expect((await answer).status).toBe(200);
    },
  },
  {
    title: "goes on with packed frames over another connection, whose streams begin anew",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Connection(relay);
      await first.register(["m"], { features: ["deflate"] });
      const answer = chat(relay, { stream: true });
      const request = await first.next("request");
      const number = first.numberOf(request["request_id"]);
      first.pack([TYPE.head, number, { status: 200, headers: { "content-type": "text/event-stream" } }]);
      packEvents(first, number, EVENTS.slice(0, 100));
      const response = await answer;
      first.cut();
      type Health = { workers: { is_suspended: boolean }[] };
      await healthShows<Health>(relay, ({ workers }) => workers[0]?.is_suspended === true);
      first.lose(TYPE.body, number, Buffer.from(EVENTS[100]!));
      const second = await v2Connection(relay);
      expect((await second.goOn(first)).type).toBe("resumed");
      packEvents(second, number, EVENTS.slice(101));
      second.end(request);
      expect(await response.text()).toBe(EVENTS.join(""));
      const next = chat(relay, { pad: "over again, ".repeat(10_000) });
      second.complete(await second.next("request"), 200, "{}");
      expect((await next).status).toBe(200);
      expect(second.packed).toBeGreaterThan(0);
    },
  },
  ...BOMBS.map(({ title, code, ...bomb }) => ({
    title: `closes the link of a worker that sends a packed frame ${title}, while others serve`,
    async keep(kind: Parameters<ContractPromise["keep"]>[0]) {
      await using relay = await kind.start();
      const good = await v2Worker(relay);
      const bad = await v2Connection(relay);
      await bad.register(["other"], { features: ["deflate"] });
      bad.frame(TYPE.packed, 0, bomb.payload());
      expect((await bad.closed).code).toBe(code);
      const answer = chat(relay);
      good.complete(await good.next("request"), 200, "{}");
      expect((await answer).status).toBe(200);
    },
  })),
];

export const v2CompressionPromises = promises.map((promise): ContractPromise => ({ ...promise, link: "v2" }));
