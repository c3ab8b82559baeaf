import { describe, expect, test } from "bun:test";
import { V1_MAX_CHUNK, V1_MAX_MESSAGE } from "../../src/protocol/limits.ts";
import type { WorkerEvents } from "../../src/protocol/link.ts";
import type { LinkRequest } from "../../src/protocol/messages.ts";
import { createV1WorkerCodec } from "../../src/protocol/v1-worker.ts";

type Message = Record<string, unknown>;

const request: LinkRequest = {
  id: "r1",
  model: "m",
  method: "POST",
  path: "/v1/chat/completions",
  streaming: true,
  headers: {},
  body: new Uint8Array(0),
};

const events: WorkerEvents = {
  accepted() {},
  request() {},
  cancel() {},
  ping() {},
  drain() {},
  refreshModels() {},
};
const SSE = { status: 200, headers: { "content-type": "text/event-stream" } };
const JSON_HEAD = { status: 200, headers: { "content-type": "application/json" } };

/** A codec whose messages are kept. */
function codec(features: string[] = [], heard: Partial<WorkerEvents> = {}) {
  const sent: Message[] = [];
  const end = createV1WorkerCodec(
    { send: (text) => sent.push(JSON.parse(text as string) as Message) },
    { ...events, ...heard },
  );
  end.receive(JSON.stringify({ type: "register_ack", worker_id: "w", models: ["m"], features }));
  return { end, sent };
}

const bytes = (text: string) => new TextEncoder().encode(text);
const partOf = (message: Message) => (message["chunk"] ?? message["body"] ?? "") as string;
const textOf = (sent: Message[]) => sent.map(partOf).join("");

describe("v1 at the worker", () => {
  test("streams chunk by chunk and completes without repeating the body", () => {
    const { end, sent } = codec();
    const writer = end.respond(request);
    writer.head(SSE);
    writer.body(bytes("data: 1\n\n"));
    writer.body(bytes("data: 2\n\n"));
    writer.end({ prompt: 3, completion: 2, total: 5 });
    expect(sent).toEqual([
      { type: "response_chunk", request_id: "r1", chunk: "data: 1\n\n" },
      { type: "response_chunk", request_id: "r1", chunk: "data: 2\n\n" },
      {
        type: "response_complete",
        request_id: "r1",
        status_code: 200,
        token_counts: { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5 },
      },
    ]);
  });

  test("holds the bytes of an unfinished character back, at every split", () => {
    const text = "aé€😀\u{10ffff}\ufeffz";
    const whole = bytes(text);
    for (let first = 0; first <= whole.length; first++) {
      for (let second = first; second <= whole.length; second++) {
        const { end, sent } = codec();
        const writer = end.respond(request);
        writer.head(SSE);
        for (const part of [whole.slice(0, first), whole.slice(first, second), whole.slice(second)])
          writer.body(part);
        writer.end();
        expect(textOf(sent)).toBe(text);
        expect(sent.some((message) => message["chunk"] === "")).toBe(false);
      }
    }
  });

  test("sends an error status as one completion, so that a v1 relay can still use it", () => {
    const { end, sent } = codec();
    const writer = end.respond(request);
    writer.head({ status: 429, headers: { "content-type": "text/event-stream" } });
    writer.body(bytes("slow "));
    writer.body(bytes("down"));
    writer.end();
    expect(sent).toEqual([
      {
        type: "response_complete",
        request_id: "r1",
        status_code: 429,
        headers: { "content-type": "text/event-stream" },
        body: "slow down",
      },
    ]);
  });

  test("turns bytes that are no text into 502 and names v2", () => {
    for (const parts of [[[0xff, 0xfe]], [[0x61], [0xc3], [0x28]], [[0xe2, 0x82]]]) {
      const { end, sent } = codec();
      const writer = end.respond({ ...request, streaming: false });
      writer.head({ status: 200, headers: { "content-type": "audio/mpeg" } });
      for (const part of parts) writer.body(new Uint8Array(part));
      writer.end();
      expect(sent.length).toBe(1);
      expect(sent[0]).toMatchObject({
        type: "response_complete",
        status_code: 502,
        headers: { "x-modelrelay-error": "worker", "x-modelrelay-code": "worker_link_text_only" },
      });
      expect(sent[0]?.["body"]).toContain("v2");
    }
  });

  test("turns a whole answer that no message can hold into 502", () => {
    const { end, sent } = codec();
    const writer = end.respond({ ...request, streaming: false });
    writer.head(JSON_HEAD);
    // Each quote is escaped, so this is under the limit before and over it after.
    writer.body(bytes('"'.repeat(V1_MAX_MESSAGE / 2 + 1)));
    writer.end();
    expect(sent).toMatchObject([
      { status_code: 502, headers: { "x-modelrelay-code": "worker_link_too_small" } },
    ]);
  });

  test("splits any long answer when the relay takes the head with the first chunk", () => {
    const { end, sent } = codec(["head"]);
    const text = "😀".repeat(V1_MAX_CHUNK);
    const writer = end.respond({ ...request, streaming: false });
    writer.head({ status: 201, headers: { "x-n": "1" } });
    writer.body(bytes(text));
    writer.end();
    expect(sent[0]).toMatchObject({ type: "response_chunk", status_code: 201, headers: { "x-n": "1" } });
    expect(sent.slice(1).every((message) => message["headers"] === undefined)).toBe(true);
    expect(sent.at(-1)).toMatchObject({ type: "response_complete", status_code: 201 });
    expect(textOf(sent) === text).toBe(true);
    for (const message of sent) expect(partOf(message).isWellFormed()).toBe(true);
  });

  test("says in the stream what broke it off, to a relay that would end it as if it were whole", () => {
    const openai = `data: {"error":{"message":"gone","type":"server_error","param":null,"code":"backend_unreachable"}}\n\n`;
    const anthropic = `event: error\ndata: {"type":"error","error":{"type":"api_error","message":"gone"}}\n\n`;
    for (const [path, type, parts, last] of [
      ["/v1/chat/completions", "text/event-stream", ["data: 1\n\n"], openai],
      ["/v1/chat/completions", "text/event-stream", ["data: 1\r\n\r\n"], openai],
      ["/v1/chat/completions", "text/event-stream", ["data: 1\n", "\n"], openai],
      ["/v1/chat/completions", "text/event-stream", ["data: 1\n"], `\n${openai}`],
      ["/v1/chat/completions", "text/event-stream", ["data: 1\n\n", 'data: {"ha'], `\n\n${openai}`],
      ["/v1/messages?beta=true", "text/event-stream", ["event: x\ndata: 1\n\n"], anthropic],
      ["/v1/messages", "text/event-stream", ["event: x"], `\n\n${anthropic}`],
      ["/api/chat", "application/x-ndjson", ['{"a":1}\n'], '{"error":"gone"}\n'],
      ["/api/chat", "application/x-ndjson", ['{"a'], '\n{"error":"gone"}\n'],
    ] as const) {
      const { end, sent } = codec();
      const writer = end.respond({ ...request, path });
      writer.head({ status: 200, headers: { "content-type": type } });
      for (const part of parts) writer.body(bytes(part));
      writer.fail(502, "gone");
      expect(sent.slice(parts.length)).toMatchObject([
        { type: "response_chunk", chunk: last },
        { type: "response_complete", status_code: 502, body: "gone" },
      ]);
    }
  });

  test("leaves the words to a relay that knows a broken stream, and where nothing was sent yet", () => {
    for (const [features, parts] of [
      [["head"], ["data: 1\n\n"]],
      [[], []],
    ] as const) {
      const { end, sent } = codec([...features]);
      const writer = end.respond(request);
      writer.head(SSE);
      for (const part of parts) writer.body(bytes(part));
      writer.fail(502, "gone");
      expect(sent.map(({ type }) => type)).toEqual([
        ...parts.map(() => "response_chunk"),
        "response_complete",
      ]);
    }
  });

  test("says nothing after a completion", () => {
    for (const finish of ["end", "cancelled", "fail"] as const) {
      const { end, sent } = codec();
      const writer = end.respond(request);
      writer.head(SSE);
      if (finish === "fail") writer.fail(502, "gone");
      else writer[finish]();
      const count = sent.length;
      writer.body(bytes("more"));
      writer.end();
      writer.fail(500, "again");
      writer.cancelled();
      expect(sent.length).toBe(count);
    }
  });

  test("answers a cancel with a completion, since relays in the field keep the slot until then", () => {
    const { end, sent } = codec();
    end.respond(request).cancelled();
    expect(sent).toEqual([{ type: "response_complete", request_id: "r1", status_code: 499 }]);
  });

  test("reads what a relay says, fields that it does not know included", () => {
    const heard: unknown[] = [];
    const { end } = codec([], {
      request: (got) => heard.push({ ...got, body: new TextDecoder().decode(got.body) }),
      cancel: (id, reason) => heard.push({ id, reason }),
      ping: (stamp) => heard.push({ stamp }),
      drain: (reason, timeoutMs) => heard.push({ reason, timeoutMs }),
      refreshModels: () => heard.push("refresh"),
    });
    for (const message of [
      {
        type: "request",
        request_id: "r",
        model: "m",
        endpoint_path: "/v1/x",
        is_streaming: false,
        body: "é",
        headers: { a: "b", c: 1 },
        later: 1,
      },
      { type: "cancel", request_id: "r", reason: "timeout" },
      { type: "cancel", request_id: "r", reason: { other: "why" } },
      { type: "ping" },
      { type: "ping", timestamp_unix_ms: 5 },
      { type: "graceful_shutdown", drain_timeout_secs: 2 },
      { type: "models_refresh" },
      { type: "unheard of" },
    ]) {
      end.receive(JSON.stringify(message));
    }
    expect(heard).toEqual([
      {
        id: "r",
        model: "m",
        method: "POST",
        path: "/v1/x",
        streaming: false,
        headers: { a: "b" },
        body: "é",
      },
      { id: "r", reason: "timeout" },
      { id: "r", reason: { other: "why" } },
      { stamp: undefined },
      { stamp: 5 },
      { reason: undefined, timeoutMs: 2_000 },
      "refresh",
    ]);
  });
});
