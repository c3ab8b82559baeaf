import type { Need } from "./account.ts";

/** Bytes of a prompt for a token; about right for English, and for JSON around it. */
const BYTES_PER_TOKEN = 4;

/** What an answer is taken to need that names no limit: longer than most. */
export const DEFAULT_ANSWER_TOKENS = 1_000;

/** What a picture is taken to need: most models make a few hundred to two thousand tokens of one. */
const MEDIA_TOKENS = 1_000;

/** Base64 of at least so many bytes is looked for; shorter texts do not matter. */
const MIN_MEDIA_BYTES = 1_024;

/** Quotation marks from the word "base64" to the end of the data that it announces; Anthropic's has nine. */
const MAX_QUOTES = 12;

/** Paths whose answers a model writes. */
const GENERATES = new Set([
  "/v1/chat/completions",
  "/v1/completions",
  "/v1/responses",
  "/v1/messages",
  "/api/chat",
  "/api/generate",
]);

/** Paths that ask no model, or ask it only to count. */
const FREE = new Set([
  "/v1/messages/count_tokens",
  "/v1/responses/input_tokens",
  "/api/show",
  "/api/ps",
  "/api/version",
]);

const QUOTE = 0x22;
const BASE64 = Buffer.from("base64");
const NOTHING: Need = { sure: 0, guess: 0 };
const ONE: Need = { sure: 1, guess: 0 };

/** What can be said before the body is here: somebody without a single token left need not send it. */
export function leastNeed(method: string, path: string): Need {
  return method === "POST" && !FREE.has(path) ? ONE : NOTHING;
}

/**
 * The tokens that a request will take, as far as its size tells.
 *
 * @param asked the longest answer that the request asks for; `null` if its body was parsed and names none,
 *   `undefined` if it was not parsed
 */
export function needOf(
  method: string,
  path: string,
  contentType: string,
  body: Uint8Array<ArrayBuffer>,
  asked: number | null | undefined,
): Need {
  if (method !== "POST" || FREE.has(path) || contentType.startsWith("multipart/")) return NOTHING;
  const prompt = promptTokens(body);
  if (!GENERATES.has(path)) return { sure: prompt, guess: 0 };
  const answer = asked === undefined ? answerNamedIn(body) : asked;
  return answer === null
    ? { sure: prompt, guess: DEFAULT_ANSWER_TOKENS }
    : { sure: prompt + answer, guess: 0 };
}

/** Tokens of a prompt, by the bytes of the body that it is in. */
export function promptTokens(body: Uint8Array<ArrayBuffer>): number {
  let bytes = body.length;
  let media = 0;
  if (bytes >= MIN_MEDIA_BYTES) {
    for (const size of mediaSizes(body)) {
      bytes -= size;
      media++;
    }
  }
  return Math.ceil(bytes / BYTES_PER_TOKEN) + media * MEDIA_TOKENS;
}

/** Bytes of a stream for a token: each is an event of its own, with names and ids around it. */
const STREAMED_BYTES_PER_TOKEN = 160;

/** Tokens of an answer, by its bytes. */
export function answerTokens(bytes: number, streaming: boolean): number {
  return Math.ceil(bytes / (streaming ? STREAMED_BYTES_PER_TOKEN : BYTES_PER_TOKEN));
}

/** Sizes of the texts that are pictures or sound in base64: a megabyte of those is no 250,000 tokens. */
function* mediaSizes(body: Uint8Array<ArrayBuffer>): Generator<number> {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  let at = text.indexOf(BASE64);
  while (at >= 0) {
    let end = at;
    for (let quotes = 0; quotes < MAX_QUOTES; quotes++) {
      const next = text.indexOf(QUOTE, end + 1);
      if (next < 0) return;
      const size = next - end;
      end = next;
      if (size < MIN_MEDIA_BYTES) continue;
      yield size;
      break;
    }
    at = text.indexOf(BASE64, end);
  }
}

/** Names under which the APIs take the longest answer, in tokens; a newer one goes before an older one. */
const ANSWER_NAMES = ["max_completion_tokens", "max_output_tokens", "max_tokens"] as const;

/**
 * The tokens that a request asks for at most, all its answers together; `null` if it names none.
 *
 * @param body after parsing
 */
export function longestAnswer(body: object): number | null {
  const fields = body as Record<string, unknown>;
  for (const name of ANSWER_NAMES) {
    const tokens = wholeNumber(fields[name]);
    if (tokens !== undefined) return tokens * (wholeNumber(fields["n"]) ?? 1);
  }
  const { options } = fields;
  if (typeof options !== "object" || options === null) return null;
  return wholeNumber((options as Record<string, unknown>)["num_predict"]) ?? null;
}

/** The same for a body that is too large to parse for it: found where it stands, however deep. */
function answerNamedIn(body: Uint8Array<ArrayBuffer>): number | null {
  const text = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  for (const name of ANSWER_NAMES) {
    const at = text.indexOf(`"${name}"`);
    if (at < 0) continue;
    const digits = /^\s*:\s*(\d{1,9})\b/.exec(text.toString("latin1", at + name.length + 2, at + 64))?.[1];
    if (digits !== undefined) return Number(digits);
  }
  return null;
}

function wholeNumber(value: unknown): number | undefined {
  return typeof value === "number" && Number.isSafeInteger(value) && value > 0 ? value : undefined;
}
