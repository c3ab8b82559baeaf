import { describe, expect, test } from "bun:test";
import { FRAME } from "../../src/protocol/frames.ts";
import { V2_MAX_CREDIT, V2_MAX_TEXT } from "../../src/protocol/limits.ts";
import { errorOf, RelayEnd, WINDOW, WorkerEnd } from "../fuzz/ends.ts";
import {
  creditFrame,
  frameOf,
  headFrame,
  joined,
  jsonFrame,
  REGISTER_ACK,
  requestFrame,
  type Bytes,
} from "../fuzz/wire.ts";

const bodyFrame = (number: number, length: number): Bytes =>
  frameOf(FRAME.body, number, new Uint8Array(length));

function relayWithRequest(): RelayEnd {
  const relay = new RelayEnd();
  relay.ask("r1");
  relay.frames();
  return relay;
}

describe("What a v2 relay skips", () => {
  const over = (...frames: Bytes[]): RelayEnd => {
    const relay = relayWithRequest();
    for (const frame of frames) relay.codec.receive(frame);
    relay.heard.length = 0;
    return relay;
  };
  const ENDINGS: [string, () => RelayEnd][] = [
    ["has ended", () => over(headFrame(1), frameOf(FRAME.end, 1))],
    [
      "has failed",
      () => over(jsonFrame(FRAME.fail, 1, { status: 502, code: "backend_unreachable", message: "m" })),
    ],
    [
      "was taken back",
      () => {
        const relay = relayWithRequest();
        relay.codec.cancel("r1", "client_disconnect");
        return relay;
      },
    ],
  ];
  for (const [how, open] of ENDINGS) {
    test(`is every frame for a request that ${how}, whatever is in it`, () => {
      const relay = open();
      for (const type of [FRAME.head, FRAME.body, FRAME.end, FRAME.fail])
        expect(errorOf(relay.codec, frameOf(type, 1, Buffer.from("no JSON")))).toBeUndefined();
      expect(errorOf(relay.codec, creditFrame(1, V2_MAX_CREDIT))).toBeUndefined();
      expect(relay.heard).toEqual([]);
    });
  }

  test("is every type that it does not know, or that it sends itself", () => {
    const relay = relayWithRequest();
    const { request, cancel, ping, resume, resumed, refused } = FRAME;
    for (const type of [0, 0x42, 0x7f, 0x86, 0xff, request, cancel, ping, resume, resumed, refused])
      expect(errorOf(relay.codec, frameOf(type, 77, Buffer.from("?")))).toBeUndefined();
    expect(relay.heard).toEqual([]);
  });

  test("is a control type and fields that it does not know", () => {
    const relay = relayWithRequest();
    expect(errorOf(relay.codec, jsonFrame(FRAME.control, 0, { type: "later", models: 7 }))).toBeUndefined();
    const head = { status: 200, headers: { a: "b", c: 7 }, later: {} };
    expect(errorOf(relay.codec, jsonFrame(FRAME.head, 1, head))).toBeUndefined();
    expect(relay.heard).toEqual([{ event: "head", id: "r1" }]);
  });

  test("is an empty part of a body", () => {
    const relay = over(headFrame(1));
    expect(errorOf(relay.codec, bodyFrame(1, 0))).toBeUndefined();
    expect(relay.heard).toEqual([]);
  });
});

describe("A v2 relay", () => {
  for (const status of [0, 101, 199, 600, 999, 70_000]) {
    test(`breaks a response off whose status is ${status}, and takes the request back`, () => {
      const relay = relayWithRequest();
      relay.codec.receive(headFrame(1, status));
      expect(relay.heard).toEqual([{ event: "broken", id: "r1" }]);
      expect(relay.frames().map(({ type, request }) => [type, request])).toEqual([[FRAME.cancel, 1]]);
      expect(errorOf(relay.codec, bodyFrame(1, 5), frameOf(FRAME.end, 1))).toBeUndefined();
    });
  }
});

describe("What a v2 worker skips", () => {
  test("is every frame for a request that it has answered", () => {
    const worker = new WorkerEnd();
    worker.codec.receive(requestFrame(1, 0));
    worker.writers.get("r1")!.fail(502, "m");
    worker.frames();
    for (const frame of [bodyFrame(1, 9), frameOf(FRAME.end, 1), creditFrame(1, V2_MAX_CREDIT)])
      expect(errorOf(worker.codec, frame)).toBeUndefined();
    expect(errorOf(worker.codec, jsonFrame(FRAME.cancel, 1, { reason: "timeout" }))).toBeUndefined();
    expect(worker.frames()).toEqual([]);
    expect(worker.heard).toEqual([{ event: "request", id: "r1" }]);
  });

  test("is a request that was taken back while its body came, and the rest of that", () => {
    const worker = new WorkerEnd();
    worker.codec.receive(requestFrame(1, 10));
    worker.codec.receive(bodyFrame(1, 5));
    worker.codec.receive(jsonFrame(FRAME.cancel, 1, { reason: { other: "x" } }));
    expect(errorOf(worker.codec, bodyFrame(1, 500), frameOf(FRAME.end, 1))).toBeUndefined();
    expect(worker.requests).toEqual([]);
  });

  test("is every type that it does not know, or that it sends itself", () => {
    const worker = new WorkerEnd();
    for (const type of [0, 0x42, 0x7f, 0x86, 0xff, FRAME.head, FRAME.fail, FRAME.pong, FRAME.resume])
      expect(errorOf(worker.codec, frameOf(type, 77, Buffer.from("?")))).toBeUndefined();
    expect(worker.heard).toEqual([]);
  });
});

describe("A v2 worker", () => {
  test("answers with 502 when its backend's head is too long for a frame, and keeps its link", () => {
    const worker = new WorkerEnd();
    worker.codec.receive(requestFrame(1, 0));
    const writer = worker.writers.get("r1")!;
    writer.head({ status: 200, headers: { long: "x".repeat(V2_MAX_TEXT) } });
    writer.body(new Uint8Array(10));
    writer.end();
    const [frame, ...rest] = worker.frames();
    expect([frame?.type, rest.length]).toEqual([FRAME.fail, 0]);
    expect(JSON.parse(Buffer.from(frame!.payload).toString())).toMatchObject({
      status: 502,
      code: "worker_link_too_small",
      origin: "worker",
    });
  });

  test("says nothing for a request that was taken back before it was begun", () => {
    const worker = new WorkerEnd();
    worker.codec.receive(requestFrame(1, 0));
    const [request] = worker.requests;
    worker.frames();
    const second = worker.codec.respond(request!);
    second.head({ status: 200, headers: {} });
    second.end();
    expect(second.finished).toBe(true);
    expect(worker.frames()).toEqual([]);
  });

  test("adds nothing to a response that it has ended, though part of it still waits", () => {
    const worker = new WorkerEnd();
    worker.codec.receive(requestFrame(1, 0));
    const writer = worker.writers.get("r1")!;
    writer.head({ status: 200, headers: {} });
    writer.body(new Uint8Array(WINDOW + 10));
    writer.end({ prompt: 1 });
    writer.body(new Uint8Array(99));
    writer.end({ prompt: 2 });
    worker.codec.receive(creditFrame(1, 1_000));
    const frames = worker.frames().slice(1);
    expect(frames.map(({ type, payload }) => [type, payload.length])).toEqual([
      [FRAME.body, WINDOW],
      [FRAME.body, 10],
      [FRAME.end, expect.any(Number)],
    ]);
    expect(Buffer.from(frames[2]!.payload).toString()).toBe('{"token_counts":{"prompt_tokens":1}}');
  });

  test("takes what a relay says after its acceptance in the same message", () => {
    const worker = new WorkerEnd(false);
    worker.codec.receive(joined([REGISTER_ACK, requestFrame(1, 0), requestFrame(9, 0)]));
    expect(worker.heard.map(({ event }) => event)).toEqual(["accepted", "request", "request"]);
  });
});
