import { describe, expect, test } from "bun:test";
import { V1_MAX_MESSAGE, V1_MAX_PART } from "../../src/protocol/limits.ts";
import { NEEDS, type RelayEvents, type WorkerEvents } from "../../src/protocol/link.ts";
import { FEATURES, type LinkRequest } from "../../src/protocol/messages.ts";
import { createV1RelayCodec } from "../../src/protocol/v1-relay.ts";
import { createV1WorkerCodec } from "../../src/protocol/v1-worker.ts";
import { fitsOneMessage } from "../../src/protocol/v1.ts";

const ignored = () => {};
const relayEvents: RelayEvents = {
  registered: ignored,
  head: ignored,
  body: ignored,
  end: ignored,
  broken: ignored,
  pong: ignored,
  models: ignored,
  complaint: ignored,
};
const workerEvents: WorkerEvents = {
  accepted: ignored,
  request: ignored,
  cancel: ignored,
  ping: ignored,
  drain: ignored,
  refreshModels: ignored,
};

/** A relay's end after the registration of a worker with these features; its messages are kept. */
function relayEnd(features: readonly string[]) {
  const sent: string[] = [];
  const end = createV1RelayCodec({ send: (text) => void sent.push(text as string) }, relayEvents);
  const registration = { type: "register", worker_name: "w", models: ["m"], max_concurrent: 1, features };
  end.receive(JSON.stringify(registration));
  return { end, sent };
}

function workerEnd() {
  const requests: LinkRequest[] = [];
  const end = createV1WorkerCodec(
    { send: ignored },
    { ...workerEvents, request: (got) => requests.push(got) },
  );
  return { end, requests };
}

function request(body: Uint8Array, id = "r1"): LinkRequest {
  return {
    id,
    model: "m",
    method: "POST",
    path: "/v1/chat/completions",
    streaming: false,
    headers: { "x-a": "b" },
    body,
  };
}

/** Bytes of which each part ends inside a character. */
const LONG = Buffer.from(`"${"\n漢".repeat(V1_MAX_PART)}`);

describe("A request's body in parts", () => {
  test("arrives as it was sent, whole, and only once its last part has come", () => {
    const { end, sent } = relayEnd(FEATURES);
    const worker = workerEnd();
    end.request(request(LONG));
    expect(sent.length).toBe(Math.ceil(LONG.length / V1_MAX_PART));
    for (const message of sent) {
      expect(worker.requests).toEqual([]);
      worker.end.receive(message);
    }
    expect(worker.requests.map(({ id, path, headers }) => [id, path, headers])).toEqual([
      ["r1", "/v1/chat/completions", { "x-a": "b" }],
    ]);
    expect(LONG.equals(worker.requests[0]?.body ?? new Uint8Array(0))).toBe(true);
  });

  test("is kept apart from another that comes in between", () => {
    const first = relayEnd(FEATURES);
    first.end.request(request(LONG, "first"));
    const second = relayEnd(FEATURES);
    const other = Buffer.from("é".repeat(V1_MAX_PART));
    second.end.request(request(other, "second"));
    const worker = workerEnd();
    for (let i = 0; i < first.sent.length; i++) {
      for (const message of [first.sent[i], second.sent[i]])
        if (message !== undefined) worker.end.receive(message);
    }
    expect(worker.requests.map(({ id }) => id)).toEqual(["second", "first"]);
    expect(other.equals(worker.requests[0]?.body ?? new Uint8Array(0))).toBe(true);
    expect(LONG.equals(worker.requests[1]?.body ?? new Uint8Array(0))).toBe(true);
  });

  test("is dropped when it is cancelled before its end, and what follows does no harm", () => {
    const { end, sent } = relayEnd(FEATURES);
    end.request(request(LONG));
    const cancel = JSON.stringify({ type: "cancel", request_id: "r1", reason: "client_disconnect" });
    const worker = workerEnd();
    for (const message of [sent[0], cancel, ...sent.slice(1)]) worker.end.receive(message ?? "");
    expect(worker.requests).toEqual([]);
  });

  test("goes out as one message where it is short, and to a worker that cannot take parts", () => {
    const able = relayEnd(FEATURES);
    able.end.request(request(Buffer.from('{"model":"m"}')));
    const unable = relayEnd([]);
    unable.end.request(request(LONG));
    for (const { sent } of [able, unable]) {
      expect(sent.length).toBe(1);
      expect(JSON.parse(sent[0] ?? "")).not.toHaveProperty("more");
    }
    expect([able.end.carries() & NEEDS.large, unable.end.carries()]).toEqual([NEEDS.large, 0]);
  });
});

describe("fitsOneMessage", () => {
  test("counts what escaping adds", () => {
    const around = 256 * 1024;
    for (const [letter, escaped] of [
      ["x", 1],
      ['"', 2],
      ["\\", 2],
      ["\n", 2],
      ["\u0001", 6],
      ["\u007f", 1],
    ] as const) {
      expect(JSON.stringify(letter).length - 2).toBe(escaped);
      const most = Math.floor((V1_MAX_MESSAGE - around) / escaped);
      expect(
        [letter.repeat(most), letter.repeat(most + 1)].map((text) => fitsOneMessage(Buffer.from(text))),
      ).toEqual([true, false]);
    }
    expect(fitsOneMessage(new Uint8Array(0))).toBe(true);
  });
});
