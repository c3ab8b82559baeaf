import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { startLlama, type Llama } from "../support/llama.ts";
import { lacksPart } from "../support/parts.ts";
import { startRelayed, type Relayed } from "./relayed.ts";

/** Time for llama.cpp to load on a busy machine. */
const START_MS = 90_000;
const LOG_MS = 20_000;
const RENAMED = 'house/gpt-4o "8b" ü';

const messages = [{ role: "user", content: "Grüße, 世界" }];
/** The same request gets the same answer. */
const exact = { max_tokens: 24, temperature: 0, seed: 7 };
const skip = lacksPart("llama");

/** What differs between two answers to the same request, and nothing else. */
function withoutIds(text: string): string {
  return text
    .replaceAll(/"(?:chatcmpl|cmpl)-[0-9a-f-]{36}"/g, '"ID"')
    .replaceAll(/"created": ?\d+/g, '"created":0');
}

/** What a client reads of an answer, dates and ids apart. */
async function read(response: Response) {
  const type = response.headers.get("content-type");
  return { status: response.status, type, text: withoutIds(await response.text()) };
}

describe.skipIf(skip)("llama.cpp behind relay and worker", () => {
  let llama: Llama;
  let relayed: Relayed;
  let renamed: Relayed;

  beforeAll(async () => {
    if (skip) return;
    llama = await startLlama();
    relayed = await startRelayed({ backendUrl: llama.url });
    renamed = await startRelayed({ backendUrl: `${llama.url}/v1`, models: `${RENAMED}=${llama.model}` });
  }, START_MS);

  afterAll(async () => {
    await relayed?.[Symbol.asyncDispose]();
    await renamed?.[Symbol.asyncDispose]();
    await llama?.[Symbol.asyncDispose]();
  });

  const direct = (path: string, body: object): Promise<Response> =>
    fetch(llama.url + path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
    });

  /** Makes the same request through the relay and without it, and compares the answers byte for byte. */
  async function both(path: string, fields: object) {
    const body = { model: llama.model, ...fields };
    const answer = await read(await relayed.post(path, body));
    expect(answer).toEqual(await read(await direct(path, body)));
    return answer;
  }

  test("answers a chat with the same bytes", async () => {
    const { status, text } = await both("/v1/chat/completions", { messages, ...exact });
    expect(status).toBe(200);
    expect(text).toContain('"completion_tokens":24');
  });

  test("streams a chat with the same bytes", async () => {
    const { text, type } = await both("/v1/chat/completions", { messages, ...exact, stream: true });
    expect(type).toStartWith("text/event-stream");
    expect(text.match(/"content": /g)).toHaveLength(24);
    expect(text.trimEnd()).toEndWith("data: [DONE]");
  });

  test("completes a prompt with the same bytes, whole and streamed", async () => {
    const whole = await both("/v1/completions", { prompt: "Once", ...exact });
    expect(whole.status).toBe(200);
    const streamed = await both("/v1/completions", { prompt: "Once", ...exact, stream: true });
    expect(streamed.text.match(/^data: /gm)?.length).toBeGreaterThan(24);
  });

  test("embeds with the same numbers", async () => {
    const { status, text } = await both("/v1/embeddings", { input: "Grüße" });
    expect(status).toBe(200);
    expect(text.length).toBeGreaterThan(500);
  });

  test("chats with the official SDK", async () => {
    const stream = await relayed.openai.chat.completions.create({
      model: llama.model,
      messages: [{ role: "user", content: "hi" }],
      max_tokens: 8,
      stream: true,
    });
    const chunks = await Array.fromAsync(stream);
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toHaveLength(8);
    expect(chunks.at(-1)?.choices[0]?.finish_reason).toBe("length");
  });

  const refusals: [title: string, path: string, fields: object, status: number][] = [
    ["a value of the wrong type", "/v1/chat/completions", { messages, max_tokens: "many" }, 500],
    ["a field that is missing", "/v1/completions", { prompt: { no: "text" } }, 500],
    ["a prompt that is too long", "/v1/completions", { prompt: "x".repeat(5_000), max_tokens: 1 }, 400],
    ["a path that it does not have", "/v1/nothing", {}, 404],
  ];
  for (const [title, path, fields, status] of refusals) {
    test(`refuses ${title} with the same status and the same bytes`, async () => {
      expect((await both(path, fields)).status).toBe(status);
    });
  }

  test("accepts fields that nobody here knows, as it does without a relay", async () => {
    const { status } = await both("/v1/chat/completions", { messages, ...exact, x_unknown: [1.0, "ü"] });
    expect(status).toBe(200);
  });

  test("stops generating when the client leaves in the middle of a stream", async () => {
    const from = llama.log().length;
    const abort = new AbortController();
    const stream = await relayed.post(
      "/v1/chat/completions",
      { model: llama.model, messages, max_tokens: 1_900, stream: true },
      { signal: abort.signal },
    );
    await stream.body?.getReader().read();
    abort.abort();
    await llama.logged(/Disconnected from client/, LOG_MS, from);
    // It serves one request at a time, so this answer says that it is free again.
    const next = await relayed.post("/v1/completions", { model: llama.model, prompt: "Next", max_tokens: 1 });
    expect(next.status).toBe(200);
  });

  test("serves its model under another name, in and out", async () => {
    const listed = await Array.fromAsync(renamed.openai.models.list());
    expect(listed.map(({ id }) => id)).toEqual([RENAMED]);
    const outward = (text: string): string =>
      text.replaceAll(/("model": ?)"tiny"/g, (_, key: string) => key + JSON.stringify(RENAMED));
    const named = [`"model":${JSON.stringify(RENAMED)}`, `"model": ${JSON.stringify(RENAMED)}`];
    for (const stream of [false, true]) {
      const body = { messages, ...exact, stream };
      const through = await read(await renamed.post("/v1/chat/completions", { ...body, model: RENAMED }));
      const without = await read(await direct("/v1/chat/completions", { ...body, model: llama.model }));
      expect(through).toEqual({ ...without, text: outward(without.text) });
      const events = stream ? 26 : 1;
      expect(named.reduce((sum, name) => sum + through.text.split(name).length - 1, 0)).toBe(events);
      expect(through.text).not.toContain('"tiny"');
    }
    const backendName = await renamed.post("/v1/completions", { model: llama.model, prompt: "x" });
    expect(backendName.status).toBe(404);
  });
});
