import { z } from "zod";
import { createdAt, EVENT_STREAM, readBody, type Call } from "./call.ts";
import { limitSchema, promptOf, stopList, stopSchema } from "./conversation.ts";
import { dataFrame, type Frame } from "./paced-stream.ts";
import { composeReply, type Reply } from "./reply.ts";
import { inputSchema, readInputs, type Input } from "./token-input.ts";
import { splitTokens } from "./tokens.ts";

/** `POST /v1/completions`: https://platform.openai.com/docs/api-reference/completions */

const bodySchema = z.looseObject({
  prompt: inputSchema,
  max_tokens: limitSchema,
  stop: stopSchema.nullish(),
  n: z.number().int().min(1).max(4).nullish(),
  echo: z.boolean().nullish(),
  stream: z.boolean().nullish(),
  stream_options: z.looseObject({ include_usage: z.boolean().nullish() }).nullish(),
});

const FINISH = { end: "stop", stop_sequence: "stop", length: "length", tool_calls: "stop" } as const;

interface Choice {
  index: number;
  /** The prompt's own tokens first where `echo` is set, then the reply's. */
  pieces: string[];
  finish: string;
}

function buildChoices(inputs: Input[], replies: Reply[], count: number, echo: boolean): Choice[] {
  return replies.flatMap((reply, nth) => {
    const before = echo ? splitTokens(inputs[nth]?.text ?? "") : [];
    return Array.from({ length: count }, (_, copy) => ({
      index: nth * count + copy,
      pieces: [...before, ...reply.pieces],
      finish: FINISH[reply.finish],
    }));
  });
}

function* streamChoices(
  head: object,
  choices: Choice[],
  usage: unknown,
  showUsage: boolean,
): Generator<Frame> {
  const extra = showUsage ? { usage: null } : {};
  for (const { index, pieces, finish } of choices) {
    for (const text of pieces) {
      yield dataFrame(
        { ...head, choices: [{ text, index, logprobs: null, finish_reason: null }], ...extra },
        true,
      );
    }
    yield dataFrame({
      ...head,
      choices: [{ text: "", index, logprobs: null, finish_reason: finish }],
      ...extra,
    });
  }
  if (showUsage) yield dataFrame({ ...head, choices: [], usage });
  yield { text: "data: [DONE]\n\n", token: false };
}

export function answerCompletion(call: Call): Response {
  const body = readBody(call, bodySchema);
  const inputs = readInputs(body.prompt);
  const settings = { maxTokens: body.max_tokens ?? undefined, stops: stopList(body.stop) };
  const replies = inputs.map(({ text }) =>
    composeReply(promptOf([{ role: "user", text, images: 0 }], settings)),
  );
  const count = body.n ?? 1;
  const choices = buildChoices(inputs, replies, count, body.echo === true);
  const promptTokens = inputs.reduce((sum, input) => sum + input.tokens, 0);
  const completionTokens = replies.reduce((sum, reply) => sum + reply.outputTokens * count, 0);
  const usage = {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
  const head = {
    id: `cmpl-${call.id}`,
    object: "text_completion",
    created: createdAt(call),
    model: call.model,
  };
  if (body.stream === true) {
    const showUsage = body.stream_options?.include_usage === true;
    return call.stream(EVENT_STREAM, streamChoices(head, choices, usage, showUsage));
  }
  return Response.json({
    ...head,
    choices: choices.map(({ index, pieces, finish }) => ({
      text: pieces.join(""),
      index,
      logprobs: null,
      finish_reason: finish,
    })),
    usage,
  });
}
