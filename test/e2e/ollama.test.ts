import { describe, expect, test } from "bun:test";
import { fixedClock, startTestBackend, WEATHER, WEATHER_INPUT } from "../demo/backend.ts";
import { startRelayed, type Relayed } from "./relayed.ts";

const MODEL = "demo-echo";
const messages = [{ role: "user", content: "Grüße, 世界 👋" }];

interface Line {
  message?: { content: string; tool_calls?: unknown };
  response?: string;
  done: boolean;
}

const parseLines = (text: string): Line[] =>
  text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as Line);

/** What a client reads of an answer. */
async function read(response: Response) {
  return {
    status: response.status,
    type: response.headers.get("content-type"),
    text: await response.text(),
  };
}

/** Sends a request through the relay and to the backend itself, and compares the answers byte for byte. */
async function post(relayed: Relayed, backendUrl: string, path: string, body: unknown) {
  const through = await read(await relayed.post(path, body));
  const init = { method: "POST", body: JSON.stringify(body) };
  expect(through).toEqual(await read(await fetch(backendUrl + path, init)));
  return through;
}

describe("Ollama's API through relay and worker", () => {
  test("streams a chat line by line unless told not to", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const streamed = await post(relayed, backend.url, "/api/chat", { model: MODEL, messages });
    expect(streamed.type).toBe("application/x-ndjson");
    const whole = await post(relayed, backend.url, "/api/chat", { model: MODEL, messages, stream: false });
    const [answer] = parseLines(whole.text);
    const lines = parseLines(streamed.text);
    expect(lines.map(({ message }) => message?.content).join("")).toBe(answer?.message?.content ?? "");
    expect(answer?.message?.content).toContain("Grüße, 世界 👋");
    expect(lines.filter(({ done }) => done)).toHaveLength(1);
  });

  test("sends each line on before the next one is written", async () => {
    await using backend = startTestBackend({ tokenDelayMs: 100 });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const response = await relayed.post("/api/chat", { model: MODEL, messages });
    const reader = response.body?.getReader();
    const first = await reader?.read();
    expect(parseLines(new TextDecoder().decode(first?.value))).toHaveLength(1);
    await reader?.cancel();
    expect((await backend.streamEnd()).outcome).toBe("cancelled");
  });

  test("calls a tool", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const { text } = await post(relayed, backend.url, "/api/chat", {
      model: MODEL,
      messages: [{ role: "user", content: "call get_weather" }],
      tools: [{ type: "function", function: WEATHER }],
      stream: false,
    });
    expect(parseLines(text)[0]?.message?.tool_calls).toEqual([
      { function: { index: 0, name: "get_weather", arguments: WEATHER_INPUT } },
    ]);
  });

  test("generates from a prompt", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const body = { model: MODEL, prompt: "hi", options: { num_predict: 2 } };
    const { text } = await post(relayed, backend.url, "/api/generate", body);
    expect(parseLines(text).map(({ response }) => response)).toEqual(["This", " is", ""]);
  });

  test("lists the models of all workers, and shows and embeds as the backend does", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const tags = (await (await fetch(`${relayed.url}/api/tags`)).json()) as { models: object[] };
    expect(tags.models).toMatchObject([{ name: MODEL, model: MODEL }]);
    const show = await post(relayed, backend.url, "/api/show", { model: MODEL });
    expect(show.text).toContain('"family":"demo"');
    const embed = await post(relayed, backend.url, "/api/embed", { model: MODEL, input: ["a", "b"] });
    expect((JSON.parse(embed.text) as { embeddings: number[][] }).embeddings).toHaveLength(2);
  });

  test("words what goes wrong as Ollama does, whoever says it", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const unknown = await relayed.post("/api/chat", { model: "absent", messages });
    expect([unknown.status, await unknown.json()]).toEqual([
      404,
      { error: `Model "absent" is not offered: offered are "${MODEL}"` },
    ]);
    const refused = await post(relayed, backend.url, "/api/chat", { model: MODEL });
    expect(refused.status).toBe(400);
  });

  test("says in a line of its own that a stream is not whole", async () => {
    await using backend = startTestBackend({ tokenDelayMs: 100 });
    await using relayed = await startRelayed({ backendUrl: backend.url });
    const response = await relayed.post("/api/chat", { model: MODEL, messages });
    relayed.worker.kill("SIGKILL");
    const lines = parseLines(await response.text());
    expect(lines.at(-1)).toEqual({
      error: "The worker was lost in the middle of the answer, which is incomplete",
    } as unknown as Line);
    expect(lines.some(({ done }) => done)).toBe(false);
  });

  test("keeps to itself what belongs to the owner of the backend", async () => {
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url });
    for (const path of ["/api/pull", "/api/delete", "/api/create", "/api/push", "/api/copy"]) {
      expect([path, (await relayed.post(path, { model: MODEL })).status]).toEqual([path, 404]);
    }
  });

  test("serves a model under another name, in every line", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    await using relayed = await startRelayed({ backendUrl: backend.url, models: `house:7b=${MODEL}` });
    const body = { messages, model: "house:7b" };
    const streamed = await (await relayed.post("/api/chat", body)).text();
    const direct = await (
      await fetch(`${backend.url}/api/chat`, {
        method: "POST",
        body: JSON.stringify({ ...body, model: MODEL }),
      })
    ).text();
    expect(streamed).toBe(direct.replaceAll(`"model":"${MODEL}"`, '"model":"house:7b"'));
    expect(parseLines(streamed).length).toBeGreaterThan(10);
  });
});
