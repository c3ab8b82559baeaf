import { expect } from "bun:test";
import type { Message } from "../support/raw-worker.ts";
import { number32, number64, TYPE, type RawWorkerV2 } from "../support/raw-worker-v2.ts";
import { chat, v2Connection, v2Worker, type ContractPromise } from "./promise.ts";

const LARGEST_BODY = Buffer.alloc(65_536);

interface Offence {
  title: string;
  code: number;
  reason?: string;
  /** Its request has had a part of its answer, and so runs nowhere else. */
  begins?: true;
  /** @param number of a request that the worker was given and has not answered */
  commit(worker: RawWorkerV2, number: number, request: Message): void;
}

/** What a worker does wrong in version 2, and how its link then ends. */
const OFFENCES: Offence[] = [
  {
    title: "a text message",
    code: 1002,
    reason: "Cannot read a text message: protocol v2 is binary",
    commit: (worker) => worker.raw('{"type":"pong"}'),
  },
  {
    title: "a control frame that is not JSON",
    code: 1002,
    commit: (worker) => worker.frame(TYPE.control, 0, Buffer.from("{")),
  },
  {
    title: "a control frame that is no object",
    code: 1002,
    commit: (worker) => worker.frame(TYPE.control, 0, Buffer.from("[1]")),
  },
  {
    title: "a second registration",
    code: 1002,
    reason: "Cannot register twice on one link",
    commit: (worker) => worker.say({ type: "register", worker_name: "again", models: [], max_concurrent: 1 }),
  },
  {
    title: "a body without a head",
    code: 1002,
    commit: (worker, number) => worker.frame(TYPE.body, number, Buffer.from("x")),
  },
  {
    title: "an end without a head",
    code: 1002,
    commit: (worker, number) => worker.frame(TYPE.end, number),
  },
  {
    title: "a second head",
    code: 1002,
    commit(worker, _, request) {
      worker.head(request, 200);
      worker.head(request, 200);
    },
  },
  {
    title: "a frame for request 0",
    code: 1002,
    commit: (worker) => worker.frame(TYPE.end, 0),
  },
  {
    title: "a frame for a request that it was never given",
    code: 1002,
    commit: (worker, number) => worker.frame(TYPE.body, number + 1, Buffer.from("forged")),
  },
  {
    title: "an acknowledgement of what was not sent",
    code: 1002,
    commit: (worker) => worker.frame(TYPE.ack, 0, number64(worker.receivedFrames + 1)),
  },
  {
    title: "an acknowledgement of less than before",
    code: 1002,
    commit: (worker) => worker.frame(TYPE.ack, 0, number64(0)),
  },
  { title: "a short pong", code: 1002, commit: (worker) => worker.frame(TYPE.pong, 0, Buffer.alloc(3)) },
  {
    title: "a short credit",
    code: 1002,
    commit: (worker, number) => worker.frame(TYPE.credit, number, Buffer.alloc(3)),
  },
  {
    title: "a body frame that is a byte too long",
    code: 4003,
    reason: "Cannot take a frame of type 4 with 65537 bytes: 65536 are allowed",
    // The header alone: nobody waits for the rest.
    commit: (worker, number) =>
      worker.raw(new Uint8Array(Buffer.concat([Buffer.from([1, 0, 1, TYPE.body]), number32(number)]))),
  },
  {
    title: "an unknown frame that is too long",
    code: 4003,
    commit: (worker) => worker.raw(Uint8Array.of(0x10, 0, 1, 0xee, 0, 0, 0, 0)),
  },
  {
    title: "more credit than can be",
    code: 4004,
    commit: (worker, number) => worker.frame(TYPE.credit, number, number32(0xffff_ffff)),
  },
  {
    title: "more of a body than it has credit for",
    code: 4004,
    begins: true,
    reason: "Cannot take more of a body than there is room for",
    // In one message, so that nothing can be taken in between.
    commit: (worker, number) =>
      worker.frames(
        [TYPE.head, number, { status: 200, headers: { "content-type": "text/event-stream" } }],
        ...Array.from({ length: 4 }, () => [TYPE.body, number, LARGEST_BODY] as [number, number, Buffer]),
        [TYPE.body, number, Buffer.from("x")],
      ),
  },
  {
    title: "a message of 100 MB",
    code: 1009,
    commit: (worker) => worker.raw(new Uint8Array(100 * 1024 * 1024)),
  },
];

const promises: Omit<ContractPromise, "link">[] = [
  ...OFFENCES.map(({ title, code, reason, begins, ...offence }) => ({
    title: `closes the link of a worker that sends ${title}, while others serve`,
    async keep(kind: Parameters<ContractPromise["keep"]>[0]) {
      await using relay = await kind.start();
      const good = await v2Worker(relay);
      const bad = await v2Worker(relay, { worker_name: "bad" }, ["other"]);
      const answer = chat(relay, { stream: true });
      const request = await good.next("request");
      good.chunk(request, "data: 1\n\n");
      const response = await answer;
      const lost = chat(relay, { model: "other", stream: true }).catch((error: unknown) => error);
      const given = await bad.next("request");
      offence.commit(bad, bad.numberOf(given["request_id"]), given);
      const closed = await bad.closed;
      // A peer that is cut off in the middle of a huge message may see the cut before the reason.
      expect(code === 1009 ? [1009, 1006] : [code]).toContain(closed.code);
      if (reason !== undefined) expect(closed.reason).toBe(reason);
      good.chunk(request, "data: 2\n\n");
      good.complete(request);
      expect(await response.text()).toBe("data: 1\n\ndata: 2\n\n");
      // What ended the link was no cut, so nobody waits for it.
      if (code === 1009) return;
      const again = await v2Connection(relay);
      expect((await again.goOn(bad)).type).toBe("refused");
      const next = await again.register(["other"]);
      expect(next["models"]).toEqual(["other"]);
      if (begins !== true) again.complete(await again.next("request"), 200, "{}");
      await lost;
    },
  })),
  {
    title: "closes the link of a worker whose first frame is not register",
    async keep(kind) {
      await using relay = await kind.start();
      for (const [type, payload, reason] of [
        [TYPE.pong, Buffer.alloc(12), "Cannot take a frame before the registration"],
        [0x33, Buffer.alloc(0), "Cannot take a frame before the registration"],
        [
          TYPE.control,
          { type: "models_update" },
          'Cannot take "models_update": the first message must be "register"',
        ],
      ] as const) {
        const worker = await v2Connection(relay);
        worker.frame(type, 0, payload);
        expect(await worker.closed).toEqual({ code: 1002, reason });
      }
    },
  },
  {
    title: "knows each worker's requests by its own numbers, so that none can answer another's",
    async keep(kind) {
      await using relay = await kind.start();
      const holder = await v2Worker(relay);
      const stranger = await v2Worker(relay, { worker_name: "stranger" }, ["other"]);
      const answer = chat(relay);
      const request = await holder.next("request");
      const own = chat(relay, { model: "other" });
      const others = await stranger.next("request");
      expect(stranger.numberOf(others["request_id"])).toBe(holder.numberOf(request["request_id"]));
      stranger.complete(others, 200, '"own"');
      expect(await (await own).text()).toBe('"own"');
      holder.complete(request, 200, '"true"');
      expect(await (await answer).text()).toBe('"true"');
    },
  },
];

export const v2MisbehaviourPromises = promises.map((promise): ContractPromise => ({
  ...promise,
  link: "v2",
}));
