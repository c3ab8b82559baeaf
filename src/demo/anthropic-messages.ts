import { z } from "zod";
import { EVENT_STREAM, readBody, type Call } from "./call.ts";
import {
  contentSchema,
  countPrompt,
  flattenContent,
  promptOf,
  type Content,
  type Prompt,
  type ToolChoice,
  type Turn,
} from "./conversation.ts";
import { eventFrame, type Frame } from "./paced-stream.ts";
import { composeReply, type Reply } from "./reply.ts";

/** `POST /v1/messages` and `/v1/messages/count_tokens`: https://docs.anthropic.com/en/api/messages */

const countSchema = z.looseObject({
  messages: z
    .array(z.looseObject({ role: z.enum(["user", "assistant", "system"]), content: contentSchema }))
    .min(1),
  system: contentSchema.nullish(),
  tools: z.array(z.looseObject({ name: z.string(), type: z.string().nullish() })).nullish(),
  tool_choice: z
    .looseObject({
      type: z.enum(["auto", "any", "tool", "none"]),
      name: z.string().optional(),
      disable_parallel_tool_use: z.boolean().nullish(),
    })
    .nullish(),
  output_config: z.looseObject({ format: z.looseObject({ type: z.string() }).nullish() }).nullish(),
});

const messageSchema = countSchema.extend({
  max_tokens: z.number().int().min(1),
  stop_sequences: z.array(z.string()).nullish(),
  stream: z.boolean().nullish(),
});

type CountBody = z.infer<typeof countSchema>;
type Block = Exclude<Content, string>[number];

function readToolResult(block: Block, callNames: Map<string, string>): Turn {
  const content = contentSchema.safeParse(block["content"]);
  const flat = flattenContent(content.success ? content.data : undefined);
  return { role: "tool", ...flat, tool: callNames.get(String(block["tool_use_id"])) };
}

/** A message's turns: its tool results each, and what stands before and after them, in order. */
function readMessage(message: CountBody["messages"][number], callNames: Map<string, string>): Turn[] {
  const { role, content } = message;
  if (typeof content === "string") return [{ role, text: content, images: 0 }];
  const turns: Turn[] = [];
  let said: Block[] = [];
  function flush(): void {
    if (said.length > 0) turns.push({ role, ...flattenContent(said) });
    said = [];
  }
  for (const block of content) {
    if (block.type === "tool_result") {
      flush();
      turns.push(readToolResult(block, callNames));
    } else if (block.type === "tool_use") {
      callNames.set(String(block["id"]), String(block["name"]));
      said.push({ type: "text", text: JSON.stringify(block["input"] ?? {}) });
    } else {
      said.push(block);
    }
  }
  flush();
  return turns;
}

function readChoice(choice: CountBody["tool_choice"]): ToolChoice {
  switch (choice?.type) {
    case "any":
      return "required";
    case "tool":
      return { name: choice.name ?? "" };
    case "none":
      return "none";
    case "auto":
    case undefined:
      return "auto";
  }
}

function readPrompt(body: CountBody, limits: Partial<Prompt>): Prompt {
  const callNames = new Map<string, string>();
  const system: Turn[] = body.system ? [{ role: "system", ...flattenContent(body.system) }] : [];
  const turns = body.messages.flatMap((message) => readMessage(message, callNames));
  const format = body.output_config?.format;
  return promptOf([...system, ...turns], {
    // A tool with another type runs at the provider; there is none here.
    tools: (body.tools ?? [])
      .filter(({ type }) => (type ?? "custom") === "custom")
      .map((tool) => ({ name: tool.name, schema: tool["input_schema"] })),
    choice: readChoice(body.tool_choice),
    parallel: body.tool_choice?.disable_parallel_tool_use !== true,
    json: format?.type === "json_schema" ? { schema: format["schema"] } : undefined,
    ...limits,
  });
}

const STOP_REASON = {
  end: "end_turn",
  stop_sequence: "stop_sequence",
  length: "max_tokens",
  tool_calls: "tool_use",
} as const;

function buildUsage(inputTokens: number, outputTokens: number): unknown {
  return {
    input_tokens: inputTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: 0,
    output_tokens: outputTokens,
  };
}

function toolBlock(call: Call, reply: Reply, index: number, input: unknown): object {
  return { type: "tool_use", id: `toolu_${call.id}${index}`, name: reply.calls[index]?.name, input };
}

function* streamBlock(index: number, start: object, deltas: object[]): Generator<Frame> {
  yield eventFrame({ type: "content_block_start", index, content_block: start });
  if (index === 0) yield eventFrame({ type: "ping" });
  for (const delta of deltas) yield eventFrame({ type: "content_block_delta", index, delta }, true);
  yield eventFrame({ type: "content_block_stop", index });
}

function* streamMessage(
  message: Record<string, unknown>,
  call: Call,
  reply: Reply,
  inputTokens: number,
): Generator<Frame> {
  const opening = {
    ...message,
    content: [],
    stop_reason: null,
    stop_sequence: null,
    usage: buildUsage(inputTokens, 0),
  };
  yield eventFrame({ type: "message_start", message: opening });
  if (reply.pieces.length > 0) {
    const deltas = reply.pieces.map((text) => ({ type: "text_delta", text }));
    yield* streamBlock(0, { type: "text", text: "" }, deltas);
  }
  for (const [index, made] of reply.calls.entries()) {
    const deltas = made.pieces.map((piece) => ({ type: "input_json_delta", partial_json: piece }));
    yield* streamBlock(index, toolBlock(call, reply, index, {}), deltas);
  }
  const delta = { stop_reason: message["stop_reason"], stop_sequence: message["stop_sequence"] };
  const usage = { output_tokens: reply.outputTokens };
  yield eventFrame({ type: "message_delta", delta, usage });
  yield eventFrame({ type: "message_stop" });
}

export function answerMessage(call: Call): Response {
  const body = readBody(call, messageSchema);
  const stops = (body.stop_sequences ?? []).filter((sequence) => sequence !== "");
  const prompt = readPrompt(body, { maxTokens: body.max_tokens, stops });
  const reply = composeReply(prompt);
  const inputTokens = countPrompt(prompt);
  const text = reply.pieces.length > 0 ? [{ type: "text", text: reply.pieces.join("") }] : [];
  const message = {
    id: `msg_${call.id}`,
    type: "message",
    role: "assistant",
    model: call.model,
    content: [...text, ...reply.calls.map((made, index) => toolBlock(call, reply, index, made.input))],
    stop_reason: STOP_REASON[reply.finish],
    stop_sequence: reply.stopSequence ?? null,
    usage: buildUsage(inputTokens, reply.outputTokens),
  };
  if (body.stream === true)
    return call.stream(EVENT_STREAM, streamMessage(message, call, reply, inputTokens));
  return Response.json(message);
}

export function answerTokenCount(call: Call): Response {
  return Response.json({ input_tokens: countPrompt(readPrompt(readBody(call, countSchema), {})) });
}
