import { z } from "zod";
import { readBody, type Call } from "./call.ts";
import { countPrompt, promptOf, stopList, stopSchema, type Prompt, type Turn } from "./conversation.ts";
import { DEFAULT_DIMENSIONS, embedText } from "./embedding.ts";
import { lineFrame, type Frame } from "./paced-stream.ts";
import { composeReply, type Reply } from "./reply.ts";
import { inputSchema, readInputs } from "./token-input.ts";

/** Ollama's own API, as far as its clients need it: https://docs.ollama.com/api */

const LINES = "application/x-ndjson";

const generationSchema = z.looseObject({
  stream: z.boolean().nullish(),
  format: z.union([z.string(), z.looseObject({})]).nullish(),
  options: z.looseObject({ num_predict: z.number().int().nullish(), stop: stopSchema.nullish() }).nullish(),
});

const images = z.array(z.string()).nullish();

const chatSchema = generationSchema.extend({
  messages: z.array(
    z.looseObject({
      role: z.enum(["system", "user", "assistant", "tool"]),
      content: z.string().nullish(),
      images,
      tool_name: z.string().nullish(),
    }),
  ),
  tools: z.array(z.looseObject({ function: z.looseObject({ name: z.string() }).optional() })).nullish(),
});

const generateSchema = generationSchema.extend({
  prompt: z.string().nullish(),
  system: z.string().nullish(),
  images,
});

const embedSchema = z.looseObject({
  input: inputSchema,
  dimensions: z.number().int().min(1).max(4_096).nullish(),
});

type Generation = z.infer<typeof generationSchema>;

function readSettings({ options, format }: Generation): Partial<Prompt> {
  const limit = options?.num_predict ?? -1;
  return {
    // Zero and below mean "no limit" there.
    maxTokens: limit > 0 ? limit : undefined,
    stops: stopList(options?.stop),
    json:
      format === "json"
        ? { schema: undefined }
        : typeof format === "object" && format
          ? { schema: format }
          : undefined,
  };
}

/** How a dialect's two generation endpoints say one piece of the answer. */
type Say = (text: string, reply: Reply | undefined) => object;

const sayChat: Say = (content, reply) => ({
  message: {
    role: "assistant",
    content,
    ...(reply !== undefined &&
      reply.calls.length > 0 && {
        tool_calls: reply.calls.map(({ name, input }, index) => ({
          function: { index, name, arguments: input },
        })),
      }),
  },
});

const sayGenerate: Say = (response) => ({ response });

function* streamLines(head: object, say: Say, reply: Reply, tail: object): Generator<Frame> {
  for (const piece of reply.pieces) yield lineFrame({ ...head, ...say(piece, undefined), done: false }, true);
  if (reply.calls.length > 0) yield lineFrame({ ...head, ...say("", reply), done: false }, true);
  yield lineFrame({ ...head, ...say("", undefined), ...tail });
}

function answer(call: Call, body: Generation, prompt: Prompt, say: Say): Response {
  const started = call.clock.now();
  const head = { model: call.model, created_at: new Date(call.clock.wall()).toISOString() };
  // No message at all asks for the model to be loaded; this one always is.
  if (prompt.turns.length === 0)
    return Response.json({ ...head, ...say("", undefined), done: true, done_reason: "load" });
  const reply = composeReply(prompt);
  // Clients divide by the durations (in ns) to show a speed.
  const duration = Math.max(1, Math.round((call.clock.now() - started) * 1e6));
  const tail = {
    done: true,
    done_reason: reply.finish === "length" ? "length" : "stop",
    total_duration: duration,
    load_duration: 1,
    prompt_eval_count: countPrompt(prompt),
    prompt_eval_duration: duration,
    eval_count: reply.outputTokens,
    eval_duration: duration,
  };
  if (body.stream !== false) return call.stream(LINES, streamLines(head, say, reply, tail));
  return Response.json({ ...head, ...say(reply.pieces.join(""), reply), ...tail });
}

export function answerOllamaChat(call: Call): Response {
  const body = readBody(call, chatSchema);
  const turns = body.messages.map((message): Turn => ({
    role: message.role,
    text: message.content ?? "",
    images: message.images?.length ?? 0,
    tool: message.tool_name ?? undefined,
  }));
  const tools = (body.tools ?? []).flatMap(({ function: tool }) =>
    tool === undefined ? [] : [{ name: tool.name, schema: tool["parameters"] }],
  );
  return answer(call, body, promptOf(turns, { ...readSettings(body), tools }), sayChat);
}

export function answerOllamaGenerate(call: Call): Response {
  const body = readBody(call, generateSchema);
  const system: Turn[] = body.system ? [{ role: "system", text: body.system, images: 0 }] : [];
  const user: Turn[] = body.prompt
    ? [{ role: "user", text: body.prompt, images: body.images?.length ?? 0 }]
    : [];
  const turns = user.length > 0 ? [...system, ...user] : [];
  return answer(call, body, promptOf(turns, readSettings(body)), sayGenerate);
}

export function answerOllamaEmbed(call: Call): Response {
  const body = readBody(call, embedSchema);
  const inputs = readInputs(body.input);
  return Response.json({
    model: call.model,
    embeddings: inputs.map(({ text }) => [...embedText(text, body.dimensions ?? DEFAULT_DIMENSIONS)]),
    total_duration: 1,
    load_duration: 1,
    prompt_eval_count: inputs.reduce((sum, input) => sum + input.tokens, 0),
  });
}
