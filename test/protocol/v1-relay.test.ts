import { describe, expect, test } from "bun:test";
import { V1_MAX_CHUNK } from "../../src/protocol/limits.ts";
import { createV1RelayCodec } from "../../src/protocol/v1-relay.ts";

const decoder = new TextDecoder();

/** A relay's end that has given one streaming request away, and what it then hears of the answer. */
function asked(path = "/v1/chat/completions", features: string[] = []) {
  const heard: unknown[] = [];
  const end = createV1RelayCodec(
    { send() {} },
    {
      registered() {},
      head: (_, head) => heard.push(head),
      body: (_, bytes) => heard.push(decoder.decode(bytes)),
      end: () => heard.push("end"),
      broken: (_, { status, message }) => heard.push({ broken: status, message }),
      pong() {},
      models() {},
      complaint() {},
    },
  );
  const say = (message: Record<string, unknown>) => end.receive(JSON.stringify(message));
  say({ type: "register", worker_name: "w", models: ["m"], max_concurrent: 1, features });
  end.request({
    id: "r1",
    model: "m",
    method: "POST",
    path,
    streaming: true,
    headers: {},
    body: new Uint8Array(0),
  });
  return {
    end,
    heard,
    chunk: (text: string) => say({ type: "response_chunk", request_id: "r1", chunk: text }),
    complete: (status: number, more: Record<string, unknown> = {}) =>
      say({ type: "response_complete", request_id: "r1", status_code: status, ...more }),
    failed: (message: string) => say({ type: "error", request_id: "r1", code: "c", message }),
  };
}

const EVENTS = { status: 200, headers: { "content-type": "text/event-stream" } };
const JSON_TYPE = { "content-type": "application/json" };

describe("v1 at the relay", () => {
  test("gives an error that came as chunks the status that came after it", () => {
    for (const parts of [
      ['{"error":{"message":"too long"}}'],
      [' \n{"error":', '{"message":', "", '"too long"}}'],
    ]) {
      const { heard, chunk, complete } = asked();
      for (const part of parts) chunk(part);
      expect(heard).toEqual([]);
      complete(400, { headers: JSON_TYPE, body: "" });
      expect(heard).toEqual([{ status: 400, headers: JSON_TYPE }, parts.join(""), "end"]);
    }
  });

  test("gives a whole answer that came as chunks its own content type", () => {
    const { heard, chunk, complete } = asked();
    chunk('{"choices":[]');
    complete(200, { headers: JSON_TYPE, body: "}" });
    expect(heard).toEqual([{ status: 200, headers: JSON_TYPE }, '{"choices":[]}', "end"]);
  });

  test("holds back no stream: not of events, not where lines are JSON, not of a worker that sends heads", () => {
    for (const [text, path, features, type] of [
      ['data: {"a":1}\n\n', "/v1/chat/completions", [], "text/event-stream"],
      [": ping\n\n", "/v1/messages", [], "text/event-stream"],
      ['{"done":false}\n', "/api/chat", [], "application/x-ndjson"],
      ['{"a":1}\n', "/v1/chat/completions", ["head"], "text/event-stream"],
    ] as const) {
      const { heard, chunk, complete } = asked(path, [...features]);
      chunk(text);
      expect(heard).toEqual([{ status: 200, headers: { "content-type": type } }, text]);
      chunk("{");
      expect(heard.length).toBe(3);
      complete(200);
      expect(heard.slice(2)).toEqual(["{", "end"]);
    }
  });

  test("lets go of what it held back once that is longer than a chunk may be", () => {
    const { heard, chunk, complete } = asked();
    const text = `{"${"x".repeat(V1_MAX_CHUNK - 2)}`;
    chunk(text);
    expect(heard).toEqual([]);
    chunk("y");
    expect(heard[0]).toEqual(EVENTS);
    expect(heard[1] === `${text}y`).toBe(true);
    chunk("z");
    complete(200);
    expect(heard.slice(2)).toEqual(["z", "end"]);
  });

  test("reports a failure instead of what it held back, and forgets it when the request is cancelled", () => {
    const failing = asked();
    failing.chunk("{");
    failing.failed("it died");
    expect(failing.heard).toEqual([{ broken: 502, message: "it died" }]);

    const marked = asked();
    marked.chunk("{");
    marked.complete(504, { headers: { "x-modelrelay-error": "backend" }, body: "too slow" });
    expect(marked.heard).toEqual([{ broken: 504, message: "too slow" }]);

    const cancelled = asked();
    cancelled.chunk("{");
    cancelled.end.cancel("r1", "client_disconnect");
    cancelled.complete(200, { headers: JSON_TYPE });
    expect(cancelled.heard).toEqual([]);
  });
});
