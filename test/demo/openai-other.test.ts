import { describe, expect, test } from "bun:test";
import type OpenAI from "openai";
import { fixedClock, startTestBackend, WEATHER, WEATHER_INPUT } from "./backend.ts";

const MODEL = "demo-echo";

describe("Completions", () => {
  test("stream the text that the whole answer has, with its usage", async () => {
    await using backend = startTestBackend();
    const whole = await backend.openai.completions.create({ model: MODEL, prompt: "Once upon" });
    expect(whole.choices[0]?.text).toContain('"Once upon"');
    const stream = await backend.openai.completions.create({
      model: MODEL,
      prompt: "Once upon",
      stream: true,
      stream_options: { include_usage: true },
    });
    let text = "";
    let usage: unknown;
    for await (const chunk of stream) {
      text += chunk.choices[0]?.text ?? "";
      usage = chunk.usage ?? usage;
    }
    expect(text).toBe(whole.choices[0]?.text ?? "");
    expect(usage).toEqual(whole.usage);
  });

  test("answer each prompt as often as asked, with the prompt in front where it is wanted", async () => {
    await using backend = startTestBackend();
    const answer = await backend.openai.completions.create({
      model: MODEL,
      prompt: ["one", "two"],
      n: 2,
      echo: true,
      max_tokens: 2,
    });
    expect(answer.choices.map(({ index, text, finish_reason: finish }) => [index, text, finish])).toEqual([
      [0, "oneThis is", "length"],
      [1, "oneThis is", "length"],
      [2, "twoThis is", "length"],
      [3, "twoThis is", "length"],
    ]);
    expect(answer.usage).toEqual({ prompt_tokens: 2, completion_tokens: 8, total_tokens: 10 });
  });

  test("stream exactly these bytes", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    const body = { model: MODEL, prompt: "x", max_tokens: 1, stream: true };
    const text = await (await backend.post("/v1/completions", body)).text();
    const id = /"id":"(cmpl-[0-9a-f]{24})"/.exec(text)?.[1];
    const head = `"id":"${id}","object":"text_completion","created":1772323200,"model":"demo-echo"`;
    expect(text).toBe(
      `data: {${head},"choices":[{"text":"This","index":0,"logprobs":null,"finish_reason":null}]}\n\n` +
        `data: {${head},"choices":[{"text":"","index":0,"logprobs":null,"finish_reason":"length"}]}\n\n` +
        "data: [DONE]\n\n",
    );
  });
});

describe("Embeddings", () => {
  const lengthOf = (vector: number[]) => Math.hypot(...vector);
  const dot = (a: number[], b: number[]) => a.reduce((sum, value, index) => sum + value * (b[index] ?? 0), 0);

  test("are unit vectors of the wanted length, equal for equal texts and near for similar ones", async () => {
    await using backend = startTestBackend();
    const input = [
      "the cat sat on the mat",
      "a cat sat on a mat",
      "quarterly revenue figures",
      "the cat sat on the mat",
    ];
    const answer = await backend.openai.embeddings.create({ model: MODEL, input, dimensions: 256 });
    const [first = [], near = [], far = [], again = []] = answer.data.map((item) => item.embedding);
    expect(first).toHaveLength(256);
    expect(lengthOf(first)).toBeCloseTo(1, 5);
    expect(again).toEqual(first);
    expect(dot(first, near)).toBeGreaterThan(dot(first, far) + 0.2);
    expect(answer.usage).toEqual({ prompt_tokens: 21, total_tokens: 21 });
  });

  test("are the same as floats and in base64", async () => {
    await using backend = startTestBackend();
    const request = { model: MODEL, input: "hello" };
    const floats = await backend.openai.embeddings.create({ ...request, encoding_format: "float" });
    const decoded = await backend.openai.embeddings.create(request);
    const raw = await backend.post("/v1/embeddings", { ...request, encoding_format: "base64" });
    const { data } = (await raw.json()) as { data: { embedding: string }[] };
    const bytes = Buffer.from(data[0]?.embedding ?? "", "base64");
    const vector = floats.data[0]?.embedding ?? [];
    expect(vector).toHaveLength(384);
    expect(bytes.byteLength).toBe(384 * 4);
    expect(Array.from({ length: 384 }, (_, index) => bytes.readFloatLE(index * 4))).toEqual(vector);
    expect(decoded.data[0]?.embedding).toEqual(vector);
  });

  test("are made of token numbers too", async () => {
    await using backend = startTestBackend();
    const one = await backend.openai.embeddings.create({ model: MODEL, input: [1, 2, 3] });
    const two = await backend.openai.embeddings.create({ model: MODEL, input: [[1, 2, 3], [4]] });
    expect([one.data.length, two.data.length, one.usage.prompt_tokens, two.usage.prompt_tokens]).toEqual([
      1, 2, 3, 4,
    ]);
    expect(two.data[0]?.embedding).toEqual(one.data[0]?.embedding ?? []);
    expect(two.data[1]?.embedding).not.toEqual(one.data[0]?.embedding ?? []);
  });

  test("of nothing are still unit vectors", async () => {
    await using backend = startTestBackend();
    const answer = await backend.openai.embeddings.create({ model: MODEL, input: "", dimensions: 1 });
    expect(lengthOf(answer.data[0]?.embedding ?? [])).toBeCloseTo(1, 5);
  });
});

describe("Responses", () => {
  test("stream through the SDK's helper to what the whole answer holds", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    const request = { model: MODEL, instructions: "Be brief", input: "Hello there" };
    const whole = await backend.openai.responses.create(request);
    expect(whole.output_text).toContain('"Hello there"');
    const stream = backend.openai.responses.stream(request);
    const types: string[] = [];
    const numbers: number[] = [];
    for await (const event of stream) {
      if (types.at(-1) !== event.type) types.push(event.type);
      numbers.push(event.sequence_number);
    }
    const final = await stream.finalResponse();
    expect(final.output_text).toBe(whole.output_text);
    expect(final.usage).toEqual(whole.usage);
    expect(final.status).toBe("completed");
    expect(numbers).toEqual(numbers.map((_, index) => index));
    expect(types).toEqual([
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ]);
  });

  test("call a tool, streamed, and quote its result in the end", async () => {
    await using backend = startTestBackend();
    const tools: OpenAI.Responses.FunctionTool[] = [{ type: "function", strict: false, ...WEATHER }];
    const input: OpenAI.Responses.ResponseInputItem[] = [{ role: "user", content: "call get_weather now" }];
    const first = await backend.openai.responses.stream({ model: MODEL, input, tools }).finalResponse();
    const call = first.output[0];
    if (call?.type !== "function_call") throw new Error("no function call");
    expect(JSON.parse(call.arguments)).toEqual(WEATHER_INPUT);
    const whole = await backend.openai.responses.create({ model: MODEL, input, tools });
    expect(whole.output[0]).toMatchObject({
      name: "get_weather",
      arguments: call.arguments,
      status: "completed",
    });
    const result = { type: "function_call_output" as const, call_id: call.call_id, output: "rain" };
    const { parsed_arguments: _, ...plain } = call;
    const second = await backend.openai.responses.create({
      model: MODEL,
      input: [...input, plain, result],
      tools,
    });
    expect(second.output_text).toContain('The tool "get_weather" returned: rain');
  });

  test("that reach their token limit are incomplete and say why", async () => {
    await using backend = startTestBackend();
    const request = { model: MODEL, input: "hi", max_output_tokens: 16 };
    const whole = await backend.openai.responses.create(request);
    expect([whole.status, whole.incomplete_details?.reason, whole.usage?.output_tokens]).toEqual([
      "incomplete",
      "max_output_tokens",
      16,
    ]);
    const text = await (await backend.post("/v1/responses", { ...request, stream: true })).text();
    expect(text).toContain("event: response.incomplete\n");
    expect(text).not.toContain("response.completed");
  });

  test("stream exactly these bytes around the text", async () => {
    await using backend = startTestBackend({ clock: fixedClock });
    const body = { model: MODEL, input: "x", max_output_tokens: 1, stream: true };
    const text = await (await backend.post("/v1/responses", body)).text();
    const id = /"id":"resp_([0-9a-f]{24})"/.exec(text)?.[1];
    const events = text.split("\n\n");
    expect(events.slice(2, 8)).toEqual(
      [
        `"response.output_item.added","sequence_number":2,"output_index":0,"item":{"id":"msg_${id}","type":"message","status":"in_progress","role":"assistant","content":[]}`,
        `"response.content_part.added","sequence_number":3,"item_id":"msg_${id}","output_index":0,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":""}`,
        `"response.output_text.delta","sequence_number":4,"item_id":"msg_${id}","output_index":0,"content_index":0,"delta":"This","logprobs":[]`,
        `"response.output_text.done","sequence_number":5,"item_id":"msg_${id}","output_index":0,"content_index":0,"text":"This","logprobs":[]`,
        `"response.content_part.done","sequence_number":6,"item_id":"msg_${id}","output_index":0,"content_index":0,"part":{"type":"output_text","annotations":[],"logprobs":[],"text":"This"}`,
        `"response.output_item.done","sequence_number":7,"output_index":0,"item":{"id":"msg_${id}","type":"message","status":"incomplete","role":"assistant","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"This"}]}`,
      ].map((data) => `event: ${/"(.*?)"/.exec(data)?.[1]}\ndata: {"type":${data}}`),
    );
    expect(events[0]).toStartWith(
      `event: response.created\ndata: {"type":"response.created","sequence_number":0,"response":{"id":"resp_${id}"`,
    );
    expect(events.slice(9)).toEqual([""]);
  });
});
