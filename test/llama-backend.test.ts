import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createParser } from "eventsource-parser";
import { startLlama, type Llama } from "./support/llama.ts";
import { lacksPart } from "./support/parts.ts";

interface Choice {
  text?: string;
  message?: { content: string };
  delta?: { content?: string };
  finish_reason: string | null;
}

interface Answer {
  choices: Choice[];
  usage?: { completion_tokens: number };
  data?: { embedding: number[] }[];
}

const skip = lacksPart("llama");

describe.skipIf(skip)("The llama.cpp server of the tests", () => {
  let llama: Llama;
  beforeAll(async () => {
    if (!skip) llama = await startLlama();
  }, 90_000);
  afterAll(() => llama?.[Symbol.asyncDispose]());

  const post = (path: string, body: object) =>
    fetch(`${llama.url}${path}`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: llama.model, ...body }),
      proxy: "",
    });
  const messages = [{ role: "user", content: "hi" }];

  test("answers a chat completion of the length that was asked for", async () => {
    const response = await post("/v1/chat/completions", { messages, max_tokens: 12 });
    const { choices, usage } = (await response.json()) as Answer;
    expect(response.status).toBe(200);
    expect(choices[0]?.message?.content).toMatch(/^[\x20-\x7e]{12}$/);
    expect(choices[0]?.finish_reason).toBe("length");
    expect(usage?.completion_tokens).toBe(12);
  });

  test("streams a chat completion token by token to [DONE]", async () => {
    const response = await post("/v1/chat/completions", { messages, max_tokens: 8, stream: true });
    expect(response.headers.get("content-type")).toStartWith("text/event-stream");
    const events: string[] = [];
    createParser({ onEvent: ({ data }) => void events.push(data) }).feed(await response.text());
    expect(events.pop()).toBe("[DONE]");
    const choices = events.map((event) => (JSON.parse(event) as Answer).choices[0]!);
    expect(choices.map((choice) => choice.delta?.content ?? "").join("")).toMatch(/^[\x20-\x7e]{8}$/);
    expect(choices.filter((choice) => choice.delta?.content !== undefined)).toHaveLength(8);
    expect(choices.at(-1)?.finish_reason).toBe("length");
  });

  test("answers completions and embeddings", async () => {
    const completion = (await (
      await post("/v1/completions", { prompt: "hi", max_tokens: 5 })
    ).json()) as Answer;
    expect(completion.choices[0]?.text).toMatch(/^[\x20-\x7e]{5}$/);
    const embedding = (await (await post("/v1/embeddings", { input: "hi" })).json()) as Answer;
    expect(embedding.data?.[0]?.embedding.length).toBeGreaterThan(0);
  });
});
