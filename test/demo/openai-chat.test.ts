import { describe, expect, test } from "bun:test";
import type OpenAI from "openai";
import { fixedClock, rejection, startTestBackend, WEATHER, WEATHER_INPUT } from "./backend.ts";

const MODEL = "demo-echo";
const tools: OpenAI.ChatCompletionTool[] = [{ type: "function", function: WEATHER }];

function ask(text: string): OpenAI.ChatCompletionMessageParam[] {
  return [{ role: "user", content: text }];
}

describe("Chat completions", () => {
  test("say that they are a demonstration, repeat the message and name the way to a real model", async () => {
    await using backend = startTestBackend();
    const messages: OpenAI.ChatCompletionMessageParam[] = [
      { role: "system", content: "Be brief" },
      { role: "user", content: "first" },
      { role: "assistant", content: "ok" },
      { role: "user", content: "Grüße, 世界 👋" },
    ];
    const answer = await backend.openai.chat.completions.create({ model: MODEL, messages });
    const text = answer.choices[0]?.message.content ?? "";
    expect(text).toContain("built-in demonstration model of modelrelay");
    expect(text).toContain('"Grüße, 世界 👋"');
    expect(text).toContain("modelrelay worker --backend-url");
    expect(answer.choices[0]?.finish_reason).toBe("stop");
    expect(answer.usage?.total_tokens).toBe(
      (answer.usage?.prompt_tokens ?? 0) + (answer.usage?.completion_tokens ?? 0),
    );
  });

  test("stream the same text and count the same tokens as the whole answer", async () => {
    await using backend = startTestBackend();
    const request = { model: MODEL, messages: ask("Zwölf Boxkämpfer 🥊🥊 jagen Viktor") };
    const whole = await backend.openai.chat.completions.create(request);
    const stream = backend.openai.chat.completions.stream({
      ...request,
      stream_options: { include_usage: true },
    });
    const streamed = await stream.finalChatCompletion();
    expect(streamed.choices[0]?.message.content).toBe(whole.choices[0]?.message.content ?? "");
    expect(streamed.usage).toEqual(whole.usage);
    expect(await backend.streamEnd()).toEqual({
      outcome: "finished",
      tokens: whole.usage?.completion_tokens ?? Number.NaN,
    });
  });

  test("stream exactly these bytes", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    const response = await backend.post("/v1/chat/completions", {
      model: MODEL,
      messages: [{ role: "user", content: "hi" }],
      max_tokens: 2,
      stream: true,
      stream_options: { include_usage: true },
    });
    const text = await response.text();
    const id = /"id":"(chatcmpl-[0-9a-f]{24})"/.exec(text)?.[1];
    const head = `"id":"${id}","object":"chat.completion.chunk","created":1772323200,"model":"demo-echo"`;
    const chunk = (delta: string, finish: string) =>
      `data: {${head},"choices":[{"index":0,"delta":${delta},"logprobs":null,"finish_reason":${finish}}],"usage":null}\n\n`;
    expect(text).toBe(
      chunk('{"role":"assistant","content":"","refusal":null}', "null") +
        chunk('{"content":"This"}', "null") +
        chunk('{"content":" is"}', "null") +
        chunk("{}", '"length"') +
        `data: {${head},"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n` +
        "data: [DONE]\n\n",
    );
    expect(response.headers.get("content-type")).toBe("text/event-stream; charset=utf-8");
  });

  test("carry no usage in a stream that did not ask for it", async () => {
    await using backend = startTestBackend();
    const body = { model: MODEL, messages: ask("hi"), stream: true };
    const text = await (await backend.post("/v1/chat/completions", body)).text();
    expect(text).not.toContain('"usage"');
    expect(text.endsWith("data: [DONE]\n\n")).toBe(true);
  });

  test("call the tool that the message names, and quote its result in the end", async () => {
    await using backend = startTestBackend();
    const messages = ask("Please call get_weather.");
    const first = await backend.openai.chat.completions.create({ model: MODEL, messages, tools });
    const message = first.choices[0]?.message;
    const call = message?.tool_calls?.[0];
    if (message === undefined || call?.type !== "function") throw new Error("no tool call");
    expect(message.content).toBeNull();
    expect(first.choices[0]?.finish_reason).toBe("tool_calls");
    expect({ name: call.function.name, input: JSON.parse(call.function.arguments) as unknown }).toEqual({
      name: "get_weather",
      input: WEATHER_INPUT,
    });
    messages.push(message, { role: "tool", tool_call_id: call.id, content: "21 degrees" });
    const second = await backend.openai.chat.completions.create({
      model: MODEL,
      messages,
      tools,
      tool_choice: "required",
    });
    expect(second.choices[0]?.message.content).toContain('The tool "get_weather" returned: 21 degrees');
    expect(second.choices[0]?.finish_reason).toBe("stop");
  });

  test("run a tool through the SDK's own loop, streamed", async () => {
    await using backend = startTestBackend();
    const seen: unknown[] = [];
    const runner = backend.openai.chat.completions.runTools({
      model: MODEL,
      stream: true,
      messages: ask("call get_weather"),
      tools: [
        {
          type: "function",
          function: {
            ...WEATHER,
            parse: (text: string) => JSON.parse(text) as unknown,
            function: (input: unknown) => {
              seen.push(input);
              return "sunny";
            },
          },
        },
      ],
    });
    expect(await runner.finalContent()).toContain("returned: sunny");
    expect(seen).toEqual([WEATHER_INPUT]);
  });

  test("call a forced tool, and no tool where the choice is none", async () => {
    await using backend = startTestBackend();
    const create = (text: string, choice: OpenAI.ChatCompletionToolChoiceOption) =>
      backend.openai.chat.completions.create({
        model: MODEL,
        messages: ask(text),
        tools,
        tool_choice: choice,
      });
    const forced = await create("hello", { type: "function", function: { name: "get_weather" } });
    expect(forced.choices[0]?.finish_reason).toBe("tool_calls");
    const none = await create("call get_weather", "none");
    expect(none.choices[0]?.finish_reason).toBe("stop");
    expect(
      await rejection(create("hello", { type: "function", function: { name: "absent" } })),
    ).toMatchObject({ status: 400, param: "tool_choice" });
  });

  test("end at a stop sequence, before a token limit, and in as many choices as asked for", async () => {
    await using backend = startTestBackend();
    const stopped = await backend.openai.chat.completions.create({
      model: MODEL,
      messages: ask("hi"),
      stop: ["zzz", " demonstration"],
      n: 3,
    });
    expect(
      stopped.choices.map((choice) => [choice.index, choice.message.content, choice.finish_reason]),
    ).toEqual([0, 1, 2].map((index) => [index, "This is the built-in", "stop"]));
    const limited = await backend.openai.chat.completions.create({
      model: MODEL,
      messages: ask("hi"),
      max_completion_tokens: 3,
    });
    expect(limited.choices[0]?.message.content).toBe("This is the");
    expect(limited.choices[0]?.finish_reason).toBe("length");
    expect(limited.usage?.completion_tokens).toBe(3);
  });

  test("stream several choices side by side", async () => {
    await using backend = startTestBackend();
    const whole = backend.openai.chat.completions.stream({ model: MODEL, messages: ask("hi"), n: 2 });
    const { choices } = await whole.finalChatCompletion();
    expect(choices.map((choice) => choice.index)).toEqual([0, 1]);
    expect(choices[1]?.message.content).toBe(choices[0]?.message.content ?? "");
  });

  test("take content in parts and count the images", async () => {
    await using backend = startTestBackend();
    const image = { type: "image_url" as const, image_url: { url: "data:image/png;base64,AAAA" } };
    const answer = await backend.openai.chat.completions.create({
      model: MODEL,
      messages: [{ role: "user", content: [{ type: "text", text: "look" }, image, image] }],
    });
    expect(answer.choices[0]?.message.content).toContain('"look" It came with 2 images');
    expect(answer.usage?.prompt_tokens).toBeGreaterThan(170);
  });

  test("answer with JSON of the wanted schema", async () => {
    await using backend = startTestBackend();
    const answer = await backend.openai.chat.completions.create({
      model: MODEL,
      messages: ask("hi"),
      response_format: { type: "json_schema", json_schema: { name: "weather", schema: WEATHER.parameters } },
    });
    expect(JSON.parse(answer.choices[0]?.message.content ?? "")).toEqual(WEATHER_INPUT);
  });

  test("are the same each time but for the date", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    const body = { model: MODEL, messages: ask("again") };
    const first = await (await backend.post("/v1/chat/completions", body)).text();
    const second = await (await backend.post("/v1/chat/completions", body)).text();
    expect(second).toBe(first);
  });
});

describe("A client that leaves", () => {
  test("stops the generation, though the delay of its next token still runs", async () => {
    await using backend = startTestBackend({ tokenDelayMs: 5 });
    const stream = await backend.openai.chat.completions.create({
      model: MODEL,
      messages: ask("word ".repeat(5_000)),
      stream: true,
    });
    let chunks = 0;
    for await (const _ of stream) {
      chunks += 1;
      if (chunks === 5) stream.controller.abort();
    }
    const end = await backend.streamEnd();
    expect(end.outcome).toBe("cancelled");
    expect(end.tokens).toBeGreaterThanOrEqual(chunks - 1);
    expect(end.tokens).toBeLessThan(5_000);
  });

  test("stops the generation where nothing delays it", async () => {
    await using backend = startTestBackend();
    const body = { model: MODEL, messages: ask("word ".repeat(400_000)), stream: true };
    const response = await backend.post("/v1/chat/completions", body);
    const reader = response.body?.getReader();
    await reader?.read();
    await reader?.cancel();
    const end = await backend.streamEnd();
    expect(end.outcome).toBe("cancelled");
    expect(end.tokens).toBeLessThan(400_000);
  });
});
