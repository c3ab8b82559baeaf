import { createdAt, EVENT_STREAM, readBody, type Call } from "./call.ts";
import { countPrompt } from "./conversation.ts";
import { eventFrame, type Frame } from "./paced-stream.ts";
import { composeReply, type Reply, type ToolCall } from "./reply.ts";
import { readResponsesPrompt, responsesSchema, type ResponsesBody } from "./responses-request.ts";

/** `POST /v1/responses`, streamed and whole. Nothing is stored: `previous_response_id` is only repeated. */

type Status = "in_progress" | "completed" | "incomplete";
type Event = { type: string; [field: string]: unknown };
type Emit = (event: Event, token?: boolean) => Frame;

function textPart(text: string): object {
  return { type: "output_text", annotations: [], logprobs: [], text };
}

function messageItem(call: Call, status: Status, content: object[]): object {
  return { id: `msg_${call.id}`, type: "message", status, role: "assistant", content };
}

function callItem(call: Call, made: ToolCall, index: number, status: Status, args: string): object {
  const ids = { id: `fc_${call.id}${index}`, call_id: `call_${call.id}${index}` };
  return { ...ids, type: "function_call", status, name: made.name, arguments: args };
}

function finalStatus(reply: Reply): Status {
  return reply.finish === "length" ? "incomplete" : "completed";
}

function buildOutput(call: Call, reply: Reply): object[] {
  const items = reply.calls.map((made, index) =>
    callItem(call, made, index, "completed", made.pieces.join("")),
  );
  if (items.length > 0 || reply.pieces.length === 0) return items;
  return [messageItem(call, finalStatus(reply), [textPart(reply.pieces.join(""))])];
}

function buildResponse(call: Call, body: ResponsesBody): Record<string, unknown> {
  return {
    id: `resp_${call.id}`,
    object: "response",
    created_at: createdAt(call),
    status: "in_progress",
    background: false,
    error: null,
    incomplete_details: null,
    instructions: body.instructions ?? null,
    max_output_tokens: body.max_output_tokens ?? null,
    metadata: body["metadata"] ?? {},
    model: call.model,
    output: [],
    parallel_tool_calls: body.parallel_tool_calls ?? true,
    previous_response_id: body["previous_response_id"] ?? null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: body["temperature"] ?? 1,
    text: body.text ?? { format: { type: "text" } },
    tool_choice: body.tool_choice ?? "auto",
    tools: body.tools ?? [],
    top_p: body["top_p"] ?? 1,
    truncation: "disabled",
    usage: null,
  };
}

function completeResponse(
  opening: Record<string, unknown>,
  call: Call,
  reply: Reply,
  inputTokens: number,
): Record<string, unknown> {
  return {
    ...opening,
    status: finalStatus(reply),
    incomplete_details: reply.finish === "length" ? { reason: "max_output_tokens" } : null,
    output: buildOutput(call, reply),
    usage: {
      input_tokens: inputTokens,
      input_tokens_details: { cached_tokens: 0 },
      output_tokens: reply.outputTokens,
      output_tokens_details: { reasoning_tokens: 0 },
      total_tokens: inputTokens + reply.outputTokens,
    },
  };
}

function* streamText(call: Call, reply: Reply, emit: Emit): Generator<Frame> {
  const place = { item_id: `msg_${call.id}`, output_index: 0, content_index: 0 };
  const text = reply.pieces.join("");
  const item = messageItem(call, "in_progress", []);
  yield emit({ type: "response.output_item.added", output_index: 0, item });
  yield emit({ type: "response.content_part.added", ...place, part: textPart("") });
  for (const delta of reply.pieces) {
    yield emit({ type: "response.output_text.delta", ...place, delta, logprobs: [] }, true);
  }
  yield emit({ type: "response.output_text.done", ...place, text, logprobs: [] });
  yield emit({ type: "response.content_part.done", ...place, part: textPart(text) });
  const done = messageItem(call, finalStatus(reply), [textPart(text)]);
  yield emit({ type: "response.output_item.done", output_index: 0, item: done });
}

function* streamCall(call: Call, made: ToolCall, index: number, emit: Emit): Generator<Frame> {
  const place = { item_id: `fc_${call.id}${index}`, output_index: index };
  const args = made.pieces.join("");
  const item = callItem(call, made, index, "in_progress", "");
  yield emit({ type: "response.output_item.added", output_index: index, item });
  for (const delta of made.pieces) {
    yield emit({ type: "response.function_call_arguments.delta", ...place, delta }, true);
  }
  yield emit({ type: "response.function_call_arguments.done", ...place, name: made.name, arguments: args });
  const done = callItem(call, made, index, "completed", args);
  yield emit({ type: "response.output_item.done", output_index: index, item: done });
}

function* streamResponse(
  opening: Record<string, unknown>,
  final: Record<string, unknown>,
  call: Call,
  reply: Reply,
): Generator<Frame> {
  let sequence = 0;
  const emit: Emit = (event, token = false) => {
    const { type, ...fields } = event;
    return eventFrame({ type, sequence_number: sequence++, ...fields }, token);
  };
  yield emit({ type: "response.created", response: opening });
  yield emit({ type: "response.in_progress", response: opening });
  if (reply.pieces.length > 0) yield* streamText(call, reply, emit);
  for (const [index, made] of reply.calls.entries()) yield* streamCall(call, made, index, emit);
  yield emit({ type: `response.${finalStatus(reply)}`, response: final });
}

export function answerResponses(call: Call): Response {
  const body = readBody(call, responsesSchema);
  const prompt = readResponsesPrompt(body);
  const reply = composeReply(prompt);
  const opening = buildResponse(call, body);
  const final = completeResponse(opening, call, reply, countPrompt(prompt));
  if (body.stream === true) return call.stream(EVENT_STREAM, streamResponse(opening, final, call, reply));
  return Response.json(final);
}
