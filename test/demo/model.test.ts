import { describe, expect, test } from "bun:test";
import { BadRequestError, NotFoundError, type OpenAI } from "openai";
import { createDemoModel } from "../../src/demo/model.ts";
import { sampleOf } from "../../src/demo/schema-sample.ts";
import { splitTokens } from "../../src/demo/tokens.ts";
import { rejection, startTestBackend } from "./backend.ts";

const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: "hi" }];

describe("The list of models", () => {
  test("has the shape of the API that asks", async () => {
    await using backend = startTestBackend({ models: ["demo-echo", "org/other"] });
    const openai = await Array.fromAsync(await backend.openai.models.list());
    const anthropic = await Array.fromAsync(backend.anthropic.models.list());
    expect(openai.map((model) => [model.id, model.object])).toEqual([
      ["demo-echo", "model"],
      ["org/other", "model"],
    ]);
    expect(anthropic.map((model) => [model.id, model.type])).toEqual([
      ["demo-echo", "model"],
      ["org/other", "model"],
    ]);
    expect(await backend.openai.models.retrieve("org/other")).toMatchObject({
      id: "org/other",
      owned_by: "modelrelay",
    });
    expect((await backend.anthropic.models.retrieve("demo-echo")).display_name).toContain("demonstration");
    const unescaped = await fetch(`${backend.url}/v1/models/org/other`);
    expect(await unescaped.json()).toMatchObject({ id: "org/other" });
  });
});

describe("Errors of the OpenAI API", () => {
  test("are its SDK's classes", async () => {
    await using backend = startTestBackend();
    const { chat, models, embeddings } = backend.openai;
    const create = (fields: object) =>
      rejection(chat.completions.create({ model: "demo-echo", messages, stream: false, ...fields }));
    expect(await create({ model: "gpt-9" })).toMatchObject({ code: "model_not_found", param: "model" });
    expect(await create({ model: "gpt-9" })).toBeInstanceOf(NotFoundError);
    expect(await rejection(models.retrieve("gpt-9"))).toBeInstanceOf(NotFoundError);
    expect(await create({ messages: [] })).toBeInstanceOf(BadRequestError);
    expect(await create({ n: 5 })).toMatchObject({ status: 400, param: "n" });
    const empty = embeddings.create({ model: "demo-echo", input: [] });
    expect(await rejection(empty)).toBeInstanceOf(BadRequestError);
  });

  test.each([
    ["/v1/chat/completions", "{", 400, { code: "invalid_json", param: null }],
    ["/v1/chat/completions", "[]", 400, { code: "invalid_json", param: null }],
    ["/v1/chat/completions", { messages: [] }, 400, { code: "missing_required_parameter", param: "model" }],
    ["/v1/chat/completions", { model: "x" }, 404, { code: "model_not_found", param: "model" }],
    [
      "/v1/chat/completions",
      { model: "demo-echo" },
      400,
      { code: "missing_required_parameter", param: "messages" },
    ],
    [
      "/v1/chat/completions",
      { model: "demo-echo", messages: [{ role: "wizard", content: "hi" }] },
      400,
      { code: "invalid_value", param: "messages.0.role" },
    ],
    ["/v1/completions", { model: "demo-echo" }, 400, { code: "missing_required_parameter", param: "prompt" }],
    ["/v1/responses", { model: "demo-echo" }, 400, { code: "missing_required_parameter", param: "input" }],
    [
      "/v1/embeddings",
      { model: "demo-echo", input: "x", dimensions: 0 },
      400,
      { code: "invalid_value", param: "dimensions" },
    ],
    ["/v1/constructor", {}, 404, { code: "unknown_url", param: null }],
    ["/constructor", {}, 404, { code: "unknown_url", param: null }],
  ])("of %s with %j say what is wrong", async (path, body, status, error) => {
    await using backend = startTestBackend();
    const response = await backend.post(path, body);
    expect(response.status).toBe(status);
    expect(await response.json()).toMatchObject({ error: { type: "invalid_request_error", ...error } });
  });

  test("name the method that the path takes", async () => {
    await using backend = startTestBackend();
    const read = await fetch(`${backend.url}/v1/chat/completions`, { method: "DELETE" });
    const write = await backend.post("/v1/models", {});
    expect([read.status, read.headers.get("allow"), write.status, write.headers.get("allow")]).toEqual([
      405,
      "POST",
      405,
      "GET, HEAD",
    ]);
  });
});

describe("The model without a server", () => {
  test("ends a stream when the request's signal is aborted", async () => {
    const model = createDemoModel({ tokenDelayMs: 0 });
    const leaving = new AbortController();
    const response = await model.fetch(
      new Request("http://demo/v1/chat/completions", {
        method: "POST",
        body: JSON.stringify({ model: "demo-echo", messages, stream: true }),
        signal: leaving.signal,
      }),
    );
    const reader = response.body?.getReader();
    expect((await reader?.read())?.done).toBe(false);
    leaving.abort();
    expect(await rejection(Promise.resolve(reader?.read()))).toMatchObject({ name: "AbortError" });
  });

  test("waits the token delay before each token, and not for what surrounds it", async () => {
    const delays: number[] = [];
    const model = createDemoModel({
      tokenDelayMs: 40,
      clock: {
        now: () => 0,
        wall: () => 0,
        after(delayMs, fire) {
          delays.push(delayMs);
          queueMicrotask(fire);
          return { cancel() {} };
        },
      },
    });
    const body = JSON.stringify({ model: "demo-echo", messages, stream: true, max_tokens: 3 });
    const response = await model.fetch(
      new Request("http://demo/v1/chat/completions", { method: "POST", body }),
    );
    expect(await response.text()).toContain("[DONE]");
    expect(delays).toEqual([40, 40, 40]);
  });
});

describe("Tokens", () => {
  test.each(["", "  ", "a b", "Grüße, 世界!  👩‍👩‍👧 e\u0301\n\n", "x".repeat(100), "\ud800 lone", "tail \t "])(
    "of %j join to the text",
    (text) => {
      expect(splitTokens(text).join("")).toBe(text);
    },
  );
});

describe("A sample of a schema", () => {
  test.each([
    [{ type: "number", exclusiveMinimum: 3, multipleOf: 0.5 }, 3.5],
    [{ type: "integer", maximum: -4 }, -4],
    [{ type: ["null", "boolean"] }, true],
    [{ anyOf: [{ type: "null" }, { const: 7 }] }, 7],
    [{ type: "array", minItems: 2, items: { enum: ["a", "b"] } }, ["a", "a"]],
    [{ type: "string", format: "date" }, "2026-01-01"],
    [{ type: "string", minLength: 20, maxLength: 20 }, "example value......."],
    [
      { allOf: [{ properties: { a: { default: 1 } } }, { properties: { b: { type: "boolean" } } }] },
      { a: 1, b: true },
    ],
    [
      { $ref: "#/$defs/Place", $defs: { Place: { properties: { city: { type: "string" } } } } },
      { city: "Paris" },
    ],
    [{ type: "object" }, {}],
  ])("of %j is %j", (schema, value) => {
    expect(sampleOf(schema)).toEqual(value);
  });

  test("of a schema that holds itself ends", () => {
    const node = { properties: { next: { $ref: "#" } } };
    expect(JSON.stringify(sampleOf(node))).toContain("null");
  });
});
