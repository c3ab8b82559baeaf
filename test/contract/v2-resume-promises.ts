import { expect } from "bun:test";
import { frameOf, TYPE, type RawWorkerV2 } from "../support/raw-worker-v2.ts";
import type { TestRelay } from "../support/relays.ts";
import { chat, healthShows, v2Connection, v2Worker, type ContractPromise } from "./promise.ts";

type Health = { queue_depth: number; workers_connected: number; workers: { is_suspended: boolean }[] };

/** Cuts a worker's connection, and waits until the relay has seen it. */
async function cut(relay: TestRelay, worker: RawWorkerV2): Promise<void> {
  worker.cut();
  await healthShows<Health>(relay, ({ workers }) => workers[0]?.is_suspended === true);
}

/** A stream of which one event has been read. */
async function streaming(relay: TestRelay, worker: RawWorkerV2) {
  const answer = chat(relay, { stream: true });
  const request = await worker.next("request");
  worker.chunk(request, "data: 1\n\n");
  return { request, number: worker.numberOf(request["request_id"]), response: await answer };
}

function event(number: number, n: number): [type: number, request: number, payload: Buffer] {
  return [TYPE.body, number, Buffer.from(`data: ${n}\n\n`)];
}

const WHOLE = [1, 2, 3, 4].map((n) => `data: ${n}\n\n`).join("");

/** What becomes of a session of version 2 whose connection is lost. */
const promises: Omit<ContractPromise, "link">[] = [
  {
    title: "goes on over another connection, with what was lost on the way sent again",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Worker(relay);
      const { request, number, response } = await streaming(relay, first);
      await cut(relay, first);
      first.lose(...event(number, 2));
      const second = await v2Connection(relay);
      expect(await second.goOn(first)).toMatchObject({ type: "resumed" });
      second.frame(...event(number, 3));
      // In the middle of a frame.
      second.raw(new Uint8Array(frameOf(...event(number, 4)).subarray(0, 11)));
      await cut(relay, second);
      second.lose(...event(number, 4));
      const third = await v2Connection(relay);
      await third.goOn(second);
      third.end(request);
      expect(await response.text()).toBe(WHOLE);
      for (const { inbox } of [first, second, third])
        expect(inbox.items.filter(({ type }) => type === "request" || type === "cancel")).toEqual([]);
    },
  },
  {
    title: "sends again what the worker did not receive, and nothing that it did",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Worker(relay, { max_concurrent: 2 });
      const { request, response } = await streaming(relay, first);
      const leaving = new AbortController();
      const given = chat(relay, {}, { signal: leaving.signal }).catch(() => undefined);
      const other = await first.next("request");
      await cut(relay, first);
      leaving.abort();
      await given;
      await healthShows<{ requests_in_flight: number }>(relay, (health) => health.requests_in_flight === 1);
      const second = await v2Connection(relay);
      await second.goOn(first);
      expect(await second.next("cancel")).toMatchObject({
        request_id: other["request_id"],
        reason: "client_disconnect",
      });
      second.complete(request);
      expect(await response.text()).toBe("data: 1\n\n");
      expect(second.inbox.items).toEqual([]);
    },
  },
  {
    title: "gives a worker without a connection nothing new, and what waited when it is back",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Worker(relay);
      await cut(relay, first);
      const answer = chat(relay);
      await healthShows<Health>(relay, (health) => health.queue_depth === 1);
      const second = await v2Connection(relay);
      await second.goOn(first);
      second.complete(await second.next("request"), 200, '"late"');
      expect(await (await answer).text()).toBe('"late"');
    },
  },
  {
    title: "lets the newer of two connections win, and tells the older why",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Worker(relay);
      const { request, number, response } = await streaming(relay, first);
      const second = await v2Connection(relay);
      await second.goOn(first);
      expect(await first.closed).toEqual({
        code: 4002,
        reason: "Another connection goes on with this session",
      });
      for (const n of [2, 3, 4]) second.frame(...event(number, n));
      second.end(request);
      expect(await response.text()).toBe(WHOLE);
      await healthShows<Health>(relay, (health) => health.workers_connected === 1);
    },
  },
  {
    title: "refuses a session that it does not know, and takes a registration on the same connection",
    async keep(kind) {
      await using relay = await kind.start();
      const good = await v2Worker(relay, {}, ["other"]);
      for (const session of [
        "",
        "guessed",
        `${good.sessionId.slice(0, -1)}!`,
        good.sessionId.toLowerCase(),
      ]) {
        const stranger = await v2Connection(relay);
        stranger.frame(TYPE.resume, 0, { session, received: 0 });
        expect(await stranger.next("refused")).toMatchObject({ reason: "There is no such session" });
        const ack = await stranger.register(["m"]);
        expect(ack["session"]).not.toBe(good.sessionId);
        const answer = chat(relay);
        stranger.complete(await stranger.next("request"), 200, "{}");
        expect((await answer).status).toBe(200);
        stranger.close();
        await stranger.closed;
      }
    },
  },
  {
    title: "ends a session when its grace is over: what had no byte runs elsewhere, streams break off",
    async keep(kind) {
      await using relay = await kind.start({ linkGraceMs: 300 });
      const first = await v2Worker(relay, { max_concurrent: 2 });
      const { response } = await streaming(relay, first);
      const unbegun = chat(relay);
      await first.next("request");
      await cut(relay, first);
      const second = await v2Worker(relay);
      second.complete(await second.next("request"), 200, '"second"');
      expect(await (await unbegun).text()).toBe('"second"');
      const text = await response.text();
      expect(text).toStartWith('data: 1\n\ndata: {"error":');
      expect(text).toContain('"code":"worker_lost"');
      const late = await v2Connection(relay);
      expect((await late.goOn(first)).type).toBe("refused");
    },
  },
  {
    title: "keeps no session of a worker that said goodbye",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Worker(relay);
      first.close();
      await healthShows<Health>(relay, (health) => health.workers_connected === 0);
      const second = await v2Connection(relay);
      expect((await second.goOn(first)).type).toBe("refused");
    },
  },
  {
    title: "ends a connection whose resumption does not fit what was sent, and keeps the session",
    async keep(kind) {
      await using relay = await kind.start();
      const first = await v2Worker(relay);
      const { request, response } = await streaming(relay, first);
      await cut(relay, first);
      for (const received of [0, first.receivedFrames + 1, 1e15]) {
        const wrong = await v2Connection(relay);
        wrong.frame(TYPE.resume, 0, { session: first.sessionId, received });
        expect((await wrong.closed).code).toBe(1002);
      }
      const greedy = await v2Connection(relay);
      greedy.frames(
        [TYPE.resume, 0, { session: first.sessionId, received: first.receivedFrames }],
        [TYPE.pong, 0, Buffer.alloc(4)],
      );
      expect((await greedy.closed).code).toBe(1002);
      const second = await v2Connection(relay);
      expect((await second.goOn(first)).type).toBe("resumed");
      second.complete(request);
      expect(await response.text()).toBe("data: 1\n\n");
    },
  },
];

export const v2ResumePromises = promises.map((promise): ContractPromise => ({ ...promise, link: "v2" }));
