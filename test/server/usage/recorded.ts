import type { Report } from "../../../src/server/usage/reported.ts";

/** One answer as a backend sends it, and what it reports. */
export interface Recorded {
  name: string;
  contentType: string;
  /** In the pieces that belong together: events, or lines. */
  parts: string[];
  report: Report;
}

const chunk = (fields: object): string =>
  `data: ${JSON.stringify({ id: "chatcmpl-1", object: "chat.completion.chunk", created: 1, model: "tiny-q4", ...fields })}\n\n`;
const delta = (content: string, more: object = {}): string =>
  chunk({ choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more });
const event = (type: string, fields: object): string =>
  `event: ${type}\ndata: ${JSON.stringify({ type, ...fields })}\n\n`;
const line = (fields: object): string => `${JSON.stringify(fields)}\n`;

const USAGE = {
  prompt_tokens: 20,
  completion_tokens: 7,
  total_tokens: 27,
  prompt_tokens_details: { cached_tokens: 16 },
};

/** The event that a client did not ask for, and that the relay takes out. */
export const EXTRA = chunk({ choices: [], usage: USAGE });
/** Words that look like usage and are none. */
const DECEIT = ['"usage"', "usage", '{"usage":{"prompt_tokens":99}}', '\\"usage\\":{', "ü€😀"];

const chatReport: Report = { model: "tiny-q4", prompt: 20, completion: 7, cached: 16 };

export const CHAT: Recorded = {
  name: "OpenAI chat, with the event that was asked for",
  contentType: "text/event-stream",
  parts: [
    chunk({ choices: [{ index: 0, delta: { role: "assistant", content: "" }, finish_reason: null }] }),
    ": keep-alive\n\n",
    ...DECEIT.map((text) => delta(text)),
    chunk({ choices: [{ index: 0, delta: {}, finish_reason: "stop" }] }),
    EXTRA,
    "data: [DONE]\n\n",
  ],
  report: chatReport,
};

export const CHAT_NULLS: Recorded = {
  name: "OpenAI chat with usage null in each event",
  contentType: "text/event-stream; charset=utf-8",
  parts: [
    ...DECEIT.map((text) => delta(text, { usage: null })),
    ...Array.from({ length: 20 }, (_, n) => delta(`word ${n}`, { usage: null })),
    EXTRA,
    "data: [DONE]\n\n",
  ],
  report: chatReport,
};

const anthropic: Recorded = {
  name: "Anthropic messages",
  contentType: "text/event-stream",
  parts: [
    event("message_start", {
      message: {
        id: "msg_1",
        type: "message",
        role: "assistant",
        model: "claude-local",
        content: [],
        usage: {
          input_tokens: 12,
          cache_read_input_tokens: 30,
          cache_creation_input_tokens: 5,
          output_tokens: 1,
        },
      },
    }),
    event("content_block_start", {
      index: 0,
      content_block: { type: "tool_use", name: "usage", input: { usage: "x" } },
    }),
    event("ping", {}),
    ...DECEIT.map((text) => event("content_block_delta", { index: 0, delta: { type: "text_delta", text } })),
    event("content_block_stop", { index: 0 }),
    event("message_delta", { delta: { stop_reason: "end_turn" }, usage: { output_tokens: 42 } }),
    event("message_stop", {}),
  ],
  report: { model: "claude-local", prompt: 47, completion: 42, cached: 30 },
};

/** As the last event carries it: the whole answer, with a tool that has a parameter of this name. */
const response = (length: number) => ({
  id: "resp_1",
  object: "response",
  model: "gpt-local",
  output: [{ type: "message", content: [{ type: "output_text", text: "y".repeat(length) }] }],
  tools: [{ type: "function", parameters: { properties: { usage: { type: "object" } } } }],
  usage: {
    input_tokens: 11,
    input_tokens_details: { cached_tokens: 4 },
    output_tokens: 5,
    output_tokens_details: { reasoning_tokens: 2 },
    total_tokens: 16,
  },
  user: null,
  metadata: { usage: "text", model: "another" },
});
const responsesReport: Report = { model: "gpt-local", prompt: 11, completion: 5, cached: 4 };
const responses = (length: number): Recorded => ({
  name: `OpenAI responses with an answer of ${length} characters`,
  contentType: "text/event-stream",
  parts: [
    event("response.created", {
      sequence_number: 0,
      response: { id: "resp_1", object: "response", model: "gpt-local", output: [], usage: null },
    }),
    ...DECEIT.map((text, n) => event("response.output_text.delta", { sequence_number: n, delta: text })),
    event("response.completed", { sequence_number: 99, response: response(length) }),
  ],
  report: responsesReport,
});

const ollama: Recorded = {
  name: "Ollama lines",
  contentType: "application/x-ndjson",
  parts: [
    ...[...DECEIT, "eval_count", '"eval_count":5'].map((content) =>
      line({
        model: "llama3:8b",
        created_at: "2026-11-01",
        message: { role: "assistant", content },
        done: false,
      }),
    ),
    line({
      model: "llama3:8b",
      created_at: "2026-11-01",
      message: { role: "assistant", content: "" },
      done: true,
      context: Array.from({ length: 30_000 }, (_, n) => n),
      total_duration: 5,
      prompt_eval_count: 26,
      prompt_eval_duration: 3,
      eval_count: 298,
      eval_duration: 9,
    }),
  ],
  report: { model: "llama3:8b", prompt: 26, completion: 298 },
};

const whole = (name: string, fields: object, report: Report): Recorded => ({
  name,
  contentType: "application/json",
  parts: [JSON.stringify(fields)],
  report,
});

const VECTOR = Array.from({ length: 200_000 }, (_, n) => n / 7);

export const STREAMS: readonly Recorded[] = [
  CHAT,
  CHAT_NULLS,
  {
    name: "OpenAI chat with usage in each event",
    contentType: "text/event-stream",
    parts: [
      ...Array.from({ length: 12 }, (_, n) =>
        delta(`word ${n}`, { usage: { prompt_tokens: 20, completion_tokens: n } }),
      ),
      "data: [DONE]\n\n",
    ],
    report: { model: "tiny-q4", prompt: 20, completion: 11 },
  },
  {
    name: "OpenAI chat without a space after the colon, lines that end with CRLF, and no last empty line",
    contentType: "text/event-stream",
    parts: [
      ...CHAT.parts.slice(0, -2).map((part) => part.replaceAll("\n", "\r\n").replace("data: ", "data:")),
      EXTRA.trimEnd().replace("data: ", "data:"),
    ],
    report: chatReport,
  },
  {
    name: "OpenAI chat with an id before the data, and white space in it",
    contentType: "text/event-stream",
    parts: [
      delta("one"),
      `id: 7\ndata: {"model":"tiny-q4","choices":[],"usage" : { "prompt_tokens":20,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":16} }}\n\n`,
    ],
    report: chatReport,
  },
  anthropic,
  {
    ...anthropic,
    name: "Anthropic messages of a backend that counts the prompt at the beginning alone",
    parts: anthropic.parts.map((part) =>
      part.replace('"usage":{"output_tokens":42}', '"usage":{"input_tokens":0,"output_tokens":42}'),
    ),
  },
  responses(10),
  responses(400_000),
  ollama,
];

export const WHOLE: readonly Recorded[] = [
  whole(
    "OpenAI chat",
    {
      id: "chatcmpl-1",
      model: "tiny-q4",
      choices: [{ message: { content: '"usage":{"prompt_tokens":99}' } }],
      usage: USAGE,
    },
    chatReport,
  ),
  whole(
    "OpenAI embeddings, small",
    {
      object: "list",
      data: [{ embedding: [0.5] }],
      model: "embed",
      usage: { prompt_tokens: 9, total_tokens: 9 },
    },
    { model: "embed", prompt: 9, completion: 0 },
  ),
  whole(
    "OpenAI embeddings of megabytes, usage at the end",
    {
      object: "list",
      data: [{ embedding: VECTOR }],
      model: "embed",
      usage: { prompt_tokens: 9, total_tokens: 9 },
    },
    { model: "embed", prompt: 9, completion: 0 },
  ),
  whole(
    "OpenAI embeddings of megabytes, usage at the beginning",
    {
      model: "embed",
      usage: { prompt_tokens: 9, total_tokens: 9 },
      object: "list",
      data: [{ embedding: VECTOR }],
    },
    { model: "embed", prompt: 9, completion: 0 },
  ),
  whole(
    "Anthropic messages",
    {
      id: "msg_1",
      type: "message",
      model: "claude-local",
      content: [{ type: "tool_use", input: { usage: { input_tokens: 99 }, model: "x" } }],
      usage: { input_tokens: 12, cache_read_input_tokens: 30, output_tokens: 42 },
      stop_reason: "end_turn",
    },
    { model: "claude-local", prompt: 42, completion: 42, cached: 30 },
  ),
  whole("OpenAI responses", response(100_000), responsesReport),
  whole(
    "Ollama",
    { model: "llama3:8b", response: "x", done: true, prompt_eval_count: 26, eval_count: 298 },
    { model: "llama3:8b", prompt: 26, completion: 298 },
  ),
  whole("an answer without usage", { model: "m", choices: [], usage: null }, { model: "m" }),
  whole(
    "usage in somebody else's object",
    { model: "m", tool: { usage: { prompt_tokens: 5 } }, list: [] },
    { model: "m" },
  ),
  whole(
    "counts that are none",
    { model: "", usage: { prompt_tokens: -1, completion_tokens: "7", total_tokens: 1e99 } },
    {},
  ),
  whole("an array", [{ usage: USAGE }], {}),
  {
    name: "what is no JSON",
    contentType: "application/json",
    parts: ['{"usage":{"prompt_tokens":'],
    report: {},
  },
  { name: "nothing", contentType: "application/json", parts: [], report: {} },
];

/** Numbers that are the same at each run. */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
}

/** Cuts bytes at random, as networks do. */
export function split(text: string, random: () => number, longest: number): Uint8Array<ArrayBuffer>[] {
  const bytes = new Uint8Array(Buffer.from(text));
  const parts: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < bytes.length;) {
    const size = 1 + Math.floor(random() * longest);
    parts.push(bytes.slice(at, at + size));
    at += size;
  }
  return parts;
}
