import { describe, expect, test } from "bun:test";
import { startTestBackend, WEATHER, WEATHER_INPUT } from "./backend.ts";

const MODEL = "demo-echo:latest";
const messages = [{ role: "user", content: "hi", images: ["AAAA"] }];

interface Line {
  message?: { content: string; tool_calls?: unknown };
  response?: string;
  done: boolean;
  done_reason?: string;
  eval_count?: number;
}

async function readLines(response: Response): Promise<Line[]> {
  return (await response.text())
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);
}

describe("Ollama's API", () => {
  test("streams a chat line by line unless told not to", async () => {
    await using backend = startTestBackend();
    const response = await backend.post("/api/chat", { model: MODEL, messages });
    expect(response.headers.get("content-type")).toBe("application/x-ndjson");
    const lines = await readLines(response);
    const whole = (await (
      await backend.post("/api/chat", { model: MODEL, messages, stream: false })
    ).json()) as Line;
    expect(lines.map((line) => line.message?.content).join("")).toBe(whole.message?.content ?? "");
    expect(lines.filter((line) => line.done)).toHaveLength(1);
    expect(lines.at(-1)).toMatchObject({ done: true, done_reason: "stop", eval_count: whole.eval_count });
    expect(whole.message?.content).toContain("1 image");
  });

  test("generates from a prompt within its limit", async () => {
    await using backend = startTestBackend();
    const body = { model: MODEL, prompt: "hi", options: { num_predict: 2 } };
    const lines = await readLines(await backend.post("/api/generate", body));
    expect(lines.map((line) => line.response)).toEqual(["This", " is", ""]);
    expect(lines.at(-1)).toMatchObject({ done_reason: "length", eval_count: 2 });
  });

  test("calls tools with arguments as an object", async () => {
    await using backend = startTestBackend();
    const body = {
      model: MODEL,
      messages: [{ role: "user", content: "call get_weather" }],
      tools: [{ type: "function", function: WEATHER }],
      stream: false,
    };
    const answer = (await (await backend.post("/api/chat", body)).json()) as Line;
    expect(answer.message?.tool_calls).toEqual([
      { function: { index: 0, name: "get_weather", arguments: WEATHER_INPUT } },
    ]);
  });

  test("lists, shows and embeds, and says loaded where there is nothing to answer", async () => {
    await using backend = startTestBackend();
    const tags = (await (await fetch(`${backend.url}/api/tags`)).json()) as { models: { name: string }[] };
    expect(tags.models.map((model) => model.name)).toEqual(["demo-echo"]);
    const show = await backend.post("/api/show", { model: MODEL });
    expect(await show.json()).toMatchObject({ details: { family: "demo" } });
    const embed = await backend.post("/api/embed", { model: MODEL, input: ["a", "b"], dimensions: 8 });
    const { embeddings } = (await embed.json()) as { embeddings: number[][] };
    expect(embeddings.map((vector) => vector.length)).toEqual([8, 8]);
    const load = await backend.post("/api/generate", { model: MODEL });
    expect(await load.json()).toMatchObject({ done: true, done_reason: "load" });
    const unknown = await backend.post("/api/chat", { model: "absent", messages });
    expect([unknown.status, await unknown.json()]).toEqual([
      404,
      { error: 'Cannot find model "absent": this server offers "demo-echo"' },
    ]);
  });
});
