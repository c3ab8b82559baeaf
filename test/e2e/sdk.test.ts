import type Anthropic from "@anthropic-ai/sdk";
import { describe, expect, test } from "bun:test";
import type OpenAI from "openai";
import { fixedClock, startTestBackend, WEATHER, WEATHER_INPUT, type TestBackend } from "../demo/backend.ts";
import { startRelayed, type Relayed } from "./relayed.ts";

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
/** With a slash and a colon, as names of real models have. */
const MODEL = "acme/echo:8b";
const TEXT = 'Grüße, 世界 👩‍👩‍👧 "quoted"\u2028next';

/** The backend, and the relay in front of it. Equal requests to both must get equal answers. */
interface Setup extends AsyncDisposable {
  backend: TestBackend;
  relayed: Relayed;
  /** Makes the same call to both, compares what they give, and returns it. */
  both<T>(call: (clients: { openai: OpenAI; anthropic: Anthropic }) => PromiseLike<T>): Promise<T>;
}

async function startSetup(): Promise<Setup> {
  await using stack = new AsyncDisposableStack();
  // Its clock stands still, so that no date tells two equal answers apart.
  const backend = stack.use(startTestBackend({ models: [MODEL], clock: fixedClock }));
  const relayed = stack.use(await startRelayed({ backendUrl: backend.url }));
  const held = stack.move();
  return {
    backend,
    relayed,
    async both(call) {
      const through = await call(relayed);
      expect(through).toEqual(await call(backend));
      return through;
    },
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

async function collect<T>(stream: AsyncIterable<T>): Promise<T[]> {
  return Array.fromAsync(stream);
}

describe("The OpenAI SDK through relay and worker", () => {
  const messages: OpenAI.ChatCompletionMessageParam[] = [{ role: "user", content: TEXT }];

  test("chats as with the backend itself", async () => {
    await using setup = await startSetup();
    const answer = await setup.both(({ openai }) =>
      openai.chat.completions.create({ model: MODEL, messages }),
    );
    expect(answer.choices[0]?.message.content).toContain(TEXT);
    expect(answer.model).toBe(MODEL);
  });

  test("gets every chunk of a streamed chat, the usage among them", async () => {
    await using setup = await startSetup();
    const chunks = await setup.both(async ({ openai }) =>
      collect(
        await openai.chat.completions.create({
          model: MODEL,
          messages,
          stream: true,
          stream_options: { include_usage: true },
        }),
      ),
    );
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toContain(TEXT);
    expect(chunks.at(-1)?.usage?.total_tokens).toBeGreaterThan(chunks.length - 3);
  });

  test("runs a tool in the SDK's own loop, up to the final answer", async () => {
    await using setup = await startSetup();
    const final = await setup.both(async ({ openai }) => {
      const inputs: unknown[] = [];
      const runner = openai.chat.completions.runTools({
        model: MODEL,
        stream: true,
        messages: [{ role: "user", content: "call get_weather" }],
        tools: [
          {
            type: "function",
            function: {
              ...WEATHER,
              parse: (text: string) => JSON.parse(text) as unknown,
              function: (input: unknown) => {
                inputs.push(input);
                return "21 degrees";
              },
            },
          },
        ],
      });
      return { content: await runner.finalContent(), inputs };
    });
    expect(final).toEqual({
      content: expect.stringContaining('The tool "get_weather" returned: 21 degrees') as string,
      inputs: [WEATHER_INPUT],
    });
  });

  test("streams a response to its completed event", async () => {
    await using setup = await startSetup();
    const request = { model: MODEL, input: TEXT, instructions: "Be brief" };
    const events = await setup.both(async ({ openai }) =>
      collect(await openai.responses.create({ ...request, stream: true })),
    );
    const last = events.at(-1);
    if (last?.type !== "response.completed") throw new Error(`The last event is ${last?.type}`);
    const whole = await setup.both(({ openai }) => openai.responses.create(request));
    expect(last.response.usage).toEqual(whole.usage as NonNullable<typeof whole.usage>);
    expect(whole.output_text).toContain(TEXT);
  });

  test("completes a prompt, whole and streamed", async () => {
    await using setup = await startSetup();
    const request = { model: MODEL, prompt: TEXT };
    const whole = await setup.both(({ openai }) => openai.completions.create(request));
    const chunks = await setup.both(async ({ openai }) =>
      collect(
        await openai.completions.create({
          ...request,
          stream: true,
          stream_options: { include_usage: true },
        }),
      ),
    );
    expect(chunks.map(({ choices }) => choices[0]?.text).join("")).toBe(whole.choices[0]?.text ?? "");
  });

  test("gets the numbers of embeddings exactly, in base64 and as floats", async () => {
    await using setup = await startSetup();
    const request = { model: MODEL, input: [TEXT, "two"], dimensions: 64 };
    const decoded = await setup.both(({ openai }) => openai.embeddings.create(request));
    const floats = await setup.both(({ openai }) =>
      openai.embeddings.create({ ...request, encoding_format: "float" }),
    );
    expect(decoded.data.map(({ embedding }) => embedding.length)).toEqual([64, 64]);
    expect(floats.data).toHaveLength(2);
  });

  test("lists the models and retrieves one whose name has a slash", async () => {
    await using setup = await startSetup();
    const { openai } = setup.relayed;
    const listed = await collect(openai.models.list());
    expect(listed.map(({ id }) => id)).toEqual([MODEL]);
    expect(await openai.models.retrieve(MODEL)).toEqual(listed[0] as OpenAI.Model);
  });

  test("finds the id of the request where the SDK looks for it, chosen by either side", async () => {
    await using setup = await startSetup();
    const { openai } = setup.relayed;
    const ask = (headers: Record<string, string>) =>
      openai.chat.completions.create({ model: MODEL, messages }, { headers }).withResponse();
    expect((await ask({})).request_id).toMatch(UUID);
    expect((await ask({ "x-request-id": "mine-1" })).request_id).toBe("mine-1");
  });
});

describe("The Anthropic SDK through relay and worker", () => {
  const request = {
    model: MODEL,
    max_tokens: 1_000,
    system: "Be brief",
    messages: [{ role: "user", content: TEXT }] satisfies Anthropic.MessageParam[],
  };

  test("sends a message as to the backend itself", async () => {
    await using setup = await startSetup();
    const answer = await setup.both(({ anthropic }) => anthropic.messages.create(request));
    expect(answer.content).toMatchObject([{ type: "text", text: expect.stringContaining(TEXT) as string }]);
  });

  test("gets every event of a streamed message", async () => {
    await using setup = await startSetup();
    const events = await setup.both(async ({ anthropic }) =>
      collect(await anthropic.messages.create({ ...request, stream: true })),
    );
    expect([events[0]?.type, events.at(-1)?.type]).toEqual(["message_start", "message_stop"]);
    const final = await setup.both(({ anthropic }) => anthropic.messages.stream(request).finalMessage());
    expect(final.stop_reason).toBe("end_turn");
  });

  test("counts tokens as the message is billed", async () => {
    await using setup = await startSetup();
    const { max_tokens: _, ...countable } = request;
    const counted = await setup.both(({ anthropic }) => anthropic.messages.countTokens(countable));
    const { usage } = await setup.relayed.anthropic.messages.create(request);
    expect(counted.input_tokens).toBe(usage.input_tokens);
  });

  test("uses a tool and quotes its result in the final answer", async () => {
    await using setup = await startSetup();
    const { name, description, parameters } = WEATHER;
    const tools: Anthropic.Tool[] = [{ name, description, input_schema: parameters }];
    const question: Anthropic.MessageParam = { role: "user", content: "call get_weather" };
    const asked = await setup.both(({ anthropic }) =>
      anthropic.messages.stream({ ...request, tools, messages: [question] }).finalMessage(),
    );
    const [use] = asked.content;
    if (use?.type !== "tool_use") throw new Error("no tool use");
    expect({ name: use.name, input: use.input }).toEqual({ name: "get_weather", input: WEATHER_INPUT });
    const messages: Anthropic.MessageParam[] = [
      question,
      { role: "assistant", content: asked.content },
      { role: "user", content: [{ type: "tool_result", tool_use_id: use.id, content: "fog" }] },
    ];
    const final = await setup.both(({ anthropic }) =>
      anthropic.messages.create({ ...request, tools, messages }),
    );
    expect(final.content).toMatchObject([
      { text: expect.stringContaining('The tool "get_weather" returned: fog') as string },
    ]);
  });

  test("lists the models in its own shape and retrieves one", async () => {
    await using setup = await startSetup();
    const { anthropic } = setup.relayed;
    const listed = await collect(anthropic.models.list());
    expect(listed).toMatchObject([{ type: "model", id: MODEL, display_name: MODEL }]);
    expect(await anthropic.models.retrieve(MODEL)).toEqual(listed[0] as Anthropic.ModelInfo);
  });

  test("finds the id of the request where the SDK looks for it", async () => {
    await using setup = await startSetup();
    const { messages, models } = setup.relayed.anthropic;
    for (const call of [messages.create(request), models.retrieve(MODEL)]) {
      expect((await call.withResponse()).request_id).toMatch(UUID);
    }
  });
});
