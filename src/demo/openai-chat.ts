import { z } from "zod";
import { createdAt, EVENT_STREAM, readBody, type Call } from "./call.ts";
import {
  contentSchema,
  countPrompt,
  flattenContent,
  limitSchema,
  promptOf,
  stopList,
  stopSchema,
  type Prompt,
  type ToolChoice,
  type Turn,
} from "./conversation.ts";
import { dataFrame, type Frame } from "./paced-stream.ts";
import { composeReply, type Reply } from "./reply.ts";

/** `POST /v1/chat/completions`: https://platform.openai.com/docs/api-reference/chat */

const toolCallSchema = z.looseObject({
  id: z.string().optional(),
  function: z.looseObject({ name: z.string() }).optional(),
});

const bodySchema = z.looseObject({
  messages: z
    .array(
      z.looseObject({
        role: z.enum(["system", "developer", "user", "assistant", "tool", "function"]),
        content: contentSchema.nullish(),
        tool_call_id: z.string().nullish(),
        tool_calls: z.array(toolCallSchema).nullish(),
      }),
    )
    .min(1),
  tools: z
    .array(z.looseObject({ type: z.string(), function: z.looseObject({ name: z.string() }).optional() }))
    .nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["auto", "none", "required"]),
        z.looseObject({ function: z.looseObject({ name: z.string() }).optional() }),
      ],
      {
        error: 'expected "auto", "none", "required" or a function',
      },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_tokens: limitSchema,
  max_completion_tokens: limitSchema,
  stop: stopSchema.nullish(),
  n: z.number().int().min(1).max(4).nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
  response_format: z.looseObject({ type: z.string(), json_schema: z.looseObject({}).nullish() }).nullish(),
});

type Body = z.infer<typeof bodySchema>;

function readTurns(messages: Body["messages"]): Turn[] {
  const callNames = new Map<string, string>();
  return messages.map(({ role, content, tool_calls: calls, tool_call_id: callId }) => {
    for (const call of calls ?? []) {
      if (call.id !== undefined && call.function !== undefined) callNames.set(call.id, call.function.name);
    }
    const flat = flattenContent(content);
    switch (role) {
      case "system":
      case "developer":
        return { role: "system", ...flat };
      case "user":
        return { role, ...flat };
      case "assistant":
        return { role, text: flat.text + (calls ? JSON.stringify(calls) : ""), images: flat.images };
      case "tool":
      case "function":
        return { role: "tool", ...flat, tool: callNames.get(callId ?? "") };
    }
  });
}

function readChoice(choice: Body["tool_choice"]): ToolChoice {
  if (typeof choice === "string") return choice;
  return choice?.function === undefined ? "auto" : { name: choice.function.name };
}

function readFormat(format: Body["response_format"]): Prompt["json"] {
  if (format?.type === "json_schema") return { schema: format.json_schema?.["schema"] };
  return format?.type === "json_object" ? { schema: undefined } : undefined;
}

function readPrompt(body: Body): Prompt {
  return promptOf(readTurns(body.messages), {
    tools: (body.tools ?? []).flatMap(({ function: tool }) =>
      tool === undefined ? [] : [{ name: tool.name, schema: tool["parameters"] }],
    ),
    choice: readChoice(body.tool_choice),
    parallel: body.parallel_tool_calls !== false,
    maxTokens: body.max_completion_tokens ?? body.max_tokens ?? undefined,
    stops: stopList(body.stop),
    json: readFormat(body.response_format),
  });
}

const FINISH = { end: "stop", stop_sequence: "stop", length: "length", tool_calls: "tool_calls" } as const;

/** Identifiers differ between choices, since a client may answer the calls of any of them. */
function nameCall(call: Call, choice: number, index: number): string {
  return `call_${call.id}${choice}${index}`;
}

function buildMessage(call: Call, reply: Reply, choice: number): unknown {
  const content = reply.calls.length > 0 ? null : reply.pieces.join("");
  const toolCalls = reply.calls.map((made, index) => ({
    id: nameCall(call, choice, index),
    type: "function",
    function: { name: made.name, arguments: made.pieces.join("") },
  }));
  return {
    role: "assistant",
    content,
    refusal: null,
    annotations: [],
    ...(toolCalls.length > 0 && { tool_calls: toolCalls }),
  };
}

function* streamDeltas(
  call: Call,
  reply: Reply,
  choice: number,
): Generator<{ delta: unknown; token: boolean }> {
  const content = reply.calls.length > 0 ? null : "";
  yield { delta: { role: "assistant", content, refusal: null }, token: false };
  for (const piece of reply.pieces) yield { delta: { content: piece }, token: true };
  for (const [index, made] of reply.calls.entries()) {
    const head = { id: nameCall(call, choice, index), type: "function" };
    yield {
      delta: { tool_calls: [{ index, ...head, function: { name: made.name, arguments: "" } }] },
      token: true,
    };
    for (const piece of made.pieces) {
      yield { delta: { tool_calls: [{ index, function: { arguments: piece } }] }, token: true };
    }
  }
}

function* streamChat(
  call: Call,
  reply: Reply,
  choices: number,
  usage: unknown,
  showUsage: boolean,
): Generator<Frame> {
  const head = {
    id: `chatcmpl-${call.id}`,
    object: "chat.completion.chunk",
    created: createdAt(call),
    model: call.model,
  };
  function chunk(index: number, delta: unknown, finish: string | null, token = false): Frame {
    const choice = { index, delta, logprobs: null, finish_reason: finish };
    return dataFrame({ ...head, choices: [choice], ...(showUsage && { usage: null }) }, token);
  }
  // Choices take turns, as they do where a server samples them side by side.
  let running = Array.from({ length: choices }, (_, index) => ({
    index,
    deltas: streamDeltas(call, reply, index),
  }));
  while (running.length > 0) {
    const still: typeof running = [];
    for (const choice of running) {
      const next = choice.deltas.next();
      if (next.done === true) {
        yield chunk(choice.index, {}, FINISH[reply.finish]);
      } else {
        yield chunk(choice.index, next.value.delta, null, next.value.token);
        still.push(choice);
      }
    }
    running = still;
  }
  if (showUsage) yield dataFrame({ ...head, choices: [], usage });
  yield { text: "data: [DONE]\n\n", token: false };
}

export function answerChat(call: Call): Response {
  const body = readBody(call, bodySchema);
  const prompt = readPrompt(body);
  const reply = composeReply(prompt);
  const choices = body.n ?? 1;
  const promptTokens = countPrompt(prompt);
  const completionTokens = reply.outputTokens * choices;
  const usage = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
  if (body.stream === true) {
    const showUsage = body.stream_options?.include_usage === true;
    return call.stream(EVENT_STREAM, streamChat(call, reply, choices, usage, showUsage));
  }
  return Response.json({
    id: `chatcmpl-${call.id}`,
    object: "chat.completion",
    created: createdAt(call),
    model: call.model,
    choices: Array.from({ length: choices }, (_, index) => ({
      index,
      message: buildMessage(call, reply, index),
      logprobs: null,
      finish_reason: FINISH[reply.finish],
    })),
    usage,
  });
}
