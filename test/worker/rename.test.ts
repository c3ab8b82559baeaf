import { describe, expect, test } from "bun:test";
import type { LinkRequest } from "../../src/protocol/messages.ts";
import { findStrings, replaceStrings } from "../../src/worker/json-fields.ts";
import { renameAnswer, renameRequestBody } from "../../src/worker/rename.ts";

const encode = (text: string): Uint8Array<ArrayBuffer> => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

function request(body: string, more: Partial<LinkRequest> = {}): LinkRequest {
  return {
    id: "r1",
    model: "gpt-4o",
    method: "POST",
    path: "/v1/chat/completions",
    streaming: false,
    headers: { "content-type": "application/json" },
    body: encode(body),
    ...more,
  };
}

const NAME = { public: "gpt-4o", backend: "llama3.1:8b" };

describe("JSON fields", () => {
  const values = (json: string, ...paths: string[][]) =>
    findStrings(encode(json), paths).map(({ value }) => value);

  test("are found at the top only, whatever lies deeper or in strings", () => {
    const json = String.raw`{"a":{"model":"deep"},"l":["model",{"model":"x"}],"s":"\"model\":\"no\"","model" : "yes","n":{"b":[]}}`;
    expect(values(json, ["model"])).toEqual(["yes"]);
  });

  test("are found under a path of two names", () => {
    const json =
      '{"model":1,"message":{"id":"x","model":"m","content":[{"model":"no"}]},"response":{"model":"r"}}';
    expect(values(json, ["message", "model"], ["response", "model"])).toEqual(["m", "r"]);
  });

  test("are found when the key or the value is written with escapes", () => {
    expect(values(String.raw`{"mod\u0065l":"gpt\u002d4o\\"}`, ["model"])).toEqual(["gpt-4o\\"]);
  });

  test("are not found where the value is no string, the text is no object, or it breaks off", () => {
    for (const json of [
      '{"model":{"x":"y"}}',
      '["model","x"]',
      '{"model":["x"]}',
      '"model"',
      "",
      '{"model":"x',
      "x",
    ]) {
      expect([json, values(json, ["model"])]).toEqual([json, []]);
    }
  });

  test("agree with JSON.parse on documents made at random", () => {
    let seed = 42;
    const random = (n: number): number => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return seed % n;
    };
    const keys = ["model", "a", 'q"uote', "b\\", "message", "é"];
    const make = (depth: number): unknown => {
      const kind = random(depth > 3 ? 4 : 7);
      if (kind < 2) return ["x", 'y"}', "model", "\\"][random(4)];
      if (kind === 2) return random(1000) / 7;
      if (kind === 3) return [null, true, false][random(3)];
      if (kind === 4) return Array.from({ length: random(4) }, () => make(depth + 1));
      return Object.fromEntries(Array.from({ length: random(5) }, () => [keys[random(6)], make(depth + 1)]));
    };
    let strings = 0;
    for (let i = 0; i < 2_000; i++) {
      const value = { [keys[random(6)] ?? ""]: make(0), model: make(2), message: make(1) } as Record<
        string,
        unknown
      >;
      const json = JSON.stringify(value, null, random(2));
      const expected: string[] = [];
      for (const [key, entry] of Object.entries(value)) {
        if (key === "model" && typeof entry === "string") expected.push(entry);
        if (key !== "message" || typeof entry !== "object" || entry === null || Array.isArray(entry))
          continue;
        const inner = (entry as { model?: unknown }).model;
        if (typeof inner === "string") expected.push(inner);
      }
      strings += expected.length;
      expect(values(json, ["model"], ["message", "model"])).toEqual(expected);
    }
    expect(strings).toBeGreaterThan(500);
  });

  test("are replaced without touching another byte", () => {
    const json = encode('{ "seed": 12345678901234567890, "model":"a" ,"x":"é"}\n');
    expect(decode(replaceStrings(json, findStrings(json, [["model"]]), 'b"c'))).toBe(
      '{ "seed": 12345678901234567890, "model":"b\\"c" ,"x":"é"}\n',
    );
  });
});

describe("Rename", () => {
  test("puts the backend's name into a JSON request", () => {
    const renamed = renameRequestBody(request('{"messages":[{"model":"gpt-4o"}],"model":"gpt-4o"}'), NAME);
    expect(decode(renamed)).toBe('{"messages":[{"model":"gpt-4o"}],"model":"llama3.1:8b"}');
  });

  test("returns the very bytes when the names are the same", () => {
    const given = request('{"model":"gpt-4o"}');
    expect(renameRequestBody(given, { public: "gpt-4o", backend: "gpt-4o" })).toBe(given.body);
  });

  test("replaces the model field of a multipart form and leaves the file as it was", () => {
    const form = (model: string): string =>
      `--B\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\nname="model"\r\n\r\ngpt-4o\r\n--B\r\n` +
      `Content-Disposition: form-data; name="model"\r\n\r\n${model}\r\n--B--\r\n`;
    const given = request(form("gpt-4o"), { headers: { "content-type": "multipart/form-data; boundary=B" } });
    expect(decode(renameRequestBody(given, NAME))).toBe(form("llama3.1:8b"));
  });

  test("puts the public name into a JSON answer", () => {
    const transform = renameAnswer("application/json; charset=utf-8", NAME);
    const out = [
      transform?.part(encode('{"id":1,"mod')),
      transform?.part(encode('el":"llama3.1:8b"}')),
      transform?.end(),
    ];
    expect(out.map((part) => decode(part ?? encode("?"))).join("")).toBe('{"id":1,"model":"gpt-4o"}');
  });

  const stream =
    ': ping\n\nevent: message_start\ndata: {"type":"message_start","message":{"id":"m","model":"llama3.1:8b"}}\r\n\r\n' +
    'data:{"response":{"model":"x"}}\r\rdata: {"model":"llama3.1:8b","é":"\\"model\\":"}\n\ndata: [DONE]\n\n{"model":"x"}\ndata: {"model":"tail"}';
  const wanted = stream.replaceAll(/"(llama3.1:8b|x|tail)"/g, '"gpt-4o"');

  test.each([1, 2, 3, 7, 1_000])(
    "puts it into each event of a stream that comes in pieces of %d bytes",
    (size) => {
      const transform = renameAnswer("text/event-stream", NAME);
      const bytes = encode(stream);
      let out = "";
      const decoder = new TextDecoder();
      for (let at = 0; at < bytes.length; at += size) {
        out += decoder.decode(transform?.part(bytes.slice(at, at + size)), { stream: true });
      }
      out += decoder.decode(transform?.end());
      expect(out).toBe(wanted);
    },
  );

  test("holds back no complete line", () => {
    const transform = renameAnswer("text/event-stream", NAME);
    expect(decode(transform?.part(encode('data: {"a":1}\n\ndata: {"mo')) ?? encode(""))).toBe(
      'data: {"a":1}\n\n',
    );
  });

  test("leaves an answer alone that is neither JSON nor a stream", () => {
    expect(renameAnswer("audio/mpeg", NAME)).toBeUndefined();
    expect(renameAnswer(undefined, NAME)).toBeUndefined();
  });
});
