import { APIUserAbortError, BadRequestError, NotFoundError, type Anthropic } from "@anthropic-ai/sdk";
import { describe, expect, test } from "bun:test";
import { rejection, startTestBackend, WEATHER, WEATHER_INPUT } from "./backend.ts";

const MODEL = "demo-echo";
const tools: Anthropic.Tool[] = [
  { name: WEATHER.name, description: WEATHER.description, input_schema: WEATHER.parameters },
];

function ask(content: Anthropic.MessageParam["content"]): Anthropic.MessageParam[] {
  return [{ role: "user", content }];
}

describe("Messages", () => {
  test("stream through the SDK's helper to what the whole answer holds", async () => {
    await using backend = startTestBackend();
    const request = { model: MODEL, max_tokens: 1_000, system: "Be brief", messages: ask("Olá 👋") };
    const whole = await backend.anthropic.messages.create(request);
    expect(whole.content[0]).toMatchObject({
      type: "text",
      text: expect.stringContaining('"Olá 👋"') as string,
    });
    expect(whole.stop_reason).toBe("end_turn");
    const streamed = await backend.anthropic.messages.stream(request).finalMessage();
    expect(whole.content).toEqual(streamed.content);
    expect(streamed.usage).toEqual(whole.usage);
    expect(await backend.streamEnd()).toEqual({ outcome: "finished", tokens: whole.usage.output_tokens });
  });

  test("stream exactly these bytes", async () => {
    await using backend = startTestBackend();
    const body = { model: MODEL, max_tokens: 2, messages: ask("hi"), stream: true };
    const text = await (await backend.post("/v1/messages", body)).text();
    const id = /"id":"(msg_[0-9a-f]{24})"/.exec(text)?.[1];
    const usage =
      '{"input_tokens":5,"cache_creation_input_tokens":0,"cache_read_input_tokens":0,"output_tokens":0}';
    expect(text).toBe(
      [
        `event: message_start\ndata: {"type":"message_start","message":{"id":"${id}","type":"message","role":"assistant","model":"demo-echo","content":[],"stop_reason":null,"stop_sequence":null,"usage":${usage}}}`,
        'event: content_block_start\ndata: {"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
        'event: ping\ndata: {"type":"ping"}',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"This"}}',
        'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":" is"}}',
        'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}',
        'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":2}}',
        'event: message_stop\ndata: {"type":"message_stop"}\n\n',
      ].join("\n\n"),
    );
  });

  test("use a tool, streamed and whole, and quote its result in the end", async () => {
    await using backend = startTestBackend();
    const request = { model: MODEL, max_tokens: 1_000, tools };
    const messages = ask("Please call `get_weather`");
    const whole = await backend.anthropic.messages.create({ ...request, messages });
    const streamed = await backend.anthropic.messages.stream({ ...request, messages }).finalMessage();
    const answers: Anthropic.Message[] = [whole, streamed];
    for (const message of answers) {
      expect(message.stop_reason).toBe("tool_use");
      expect(message.content).toMatchObject([
        { type: "tool_use", name: "get_weather", input: WEATHER_INPUT },
      ]);
    }
    const use = streamed.content[0];
    if (use?.type !== "tool_use") throw new Error("no tool use");
    messages.push(
      { role: "assistant", content: streamed.content },
      {
        role: "user",
        content: [{ type: "tool_result", tool_use_id: use.id, content: [{ type: "text", text: "fog" }] }],
      },
    );
    const last = await backend.anthropic.messages.create({
      ...request,
      messages,
      tool_choice: { type: "any" },
    });
    expect(last.stop_reason).toBe("end_turn");
    expect(last.content[0]).toMatchObject({
      text: expect.stringContaining('The tool "get_weather" returned: fog') as string,
    });
  });

  test("end at a stop sequence and name it", async () => {
    await using backend = startTestBackend();
    const answer = await backend.anthropic.messages.create({
      model: MODEL,
      max_tokens: 100,
      messages: ask("hi"),
      stop_sequences: [" built", " demonstration"],
    });
    expect(answer).toMatchObject({
      content: [{ text: "This is the" }],
      stop_reason: "stop_sequence",
      stop_sequence: " built",
    });
  });

  test("count the tokens that the answer's usage names, images among them", async () => {
    await using backend = startTestBackend();
    const source = { type: "base64" as const, media_type: "image/png" as const, data: "AAAA" };
    const messages = ask([
      { type: "text", text: "look" },
      { type: "image", source },
    ]);
    const count = await backend.anthropic.messages.countTokens({ model: MODEL, messages, tools });
    const answer = await backend.anthropic.messages.create({
      model: MODEL,
      max_tokens: 500,
      messages,
      tools,
    });
    expect(answer.usage.input_tokens).toBe(count.input_tokens);
    expect(count.input_tokens).toBeGreaterThan(85);
    expect(answer.content[0]).toMatchObject({ text: expect.stringContaining("1 image,") as string });
  });

  test("stop being generated when the reader aborts", async () => {
    await using backend = startTestBackend({ tokenDelayMs: 5 });
    const stream = backend.anthropic.messages.stream({
      model: MODEL,
      max_tokens: 100_000,
      messages: ask("word ".repeat(5_000)),
    });
    stream.once("text", () => stream.abort());
    expect(await rejection(stream.done())).toBeInstanceOf(APIUserAbortError);
    const end = await backend.streamEnd();
    expect(end.outcome).toBe("cancelled");
    expect(end.tokens).toBeLessThan(5_000);
  });
});

describe("Errors of the Anthropic API", () => {
  test("are its SDK's classes", async () => {
    await using backend = startTestBackend();
    const { messages, models } = backend.anthropic;
    const valid = { model: MODEL, max_tokens: 10, messages: ask("hi") };
    expect(await rejection(messages.create({ ...valid, model: "gpt-9" }))).toBeInstanceOf(NotFoundError);
    expect(await rejection(messages.create({ ...valid, messages: [] }))).toBeInstanceOf(BadRequestError);
    expect(await rejection(models.retrieve("gpt-9"))).toBeInstanceOf(NotFoundError);
    const unlimited = await backend.post("/v1/messages", { model: MODEL, messages: valid.messages });
    expect(unlimited.status).toBe(400);
    expect(await unlimited.json()).toEqual({
      type: "error",
      error: { type: "invalid_request_error", message: 'Cannot read the request: "max_tokens" is missing' },
    });
    const unknown = await backend.post("/v1/messages", { ...valid, model: "gpt-9" });
    expect(await unknown.json()).toEqual({
      type: "error",
      error: {
        type: "not_found_error",
        message: 'Cannot find model "gpt-9": this server offers "demo-echo"',
      },
    });
  });
});
