/** What the generator asks of the backend, inside the request body as `"bench": {…}`. */
export interface BenchRequest {
  /** Tokens of a streamed answer. */
  tokens?: number;
  /** Milliseconds between two tokens of one stream; 0 or absent: as fast as the client reads. */
  intervalMs?: number;
  /** Tokens written together in one piece when flat out; 1 unless given. */
  burst?: number;
  /** Length of the text of an answer that is not streamed. */
  responseBytes?: number;
  /** Wait before an answer that is not streamed, for testing what the generator measures. */
  delayMs?: number;
  /** Token k claims to have been written `k % backdateMs` ms ago: a known delay, for the same purpose. */
  backdateMs?: number;
}

export const MODEL = "bench";

const SEQUENCE_DIGITS = 8;
const STAMP_DIGITS = 16;
const HEAD = `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"${MODEL}","choices":[{"index":0,"delta":{"content":"`;
const TAIL = `"},"finish_reason":null}]}\n\n`;
const TEMPLATE = Buffer.from(`${HEAD}${"0".repeat(SEQUENCE_DIGITS)} ${"0".repeat(STAMP_DIGITS)} ${TAIL}`);
const SEQUENCE_AT = HEAD.length;
const STAMP_AT = SEQUENCE_AT + SEQUENCE_DIGITS + 1;

/** Bytes of one token as an SSE event: about what inference servers send for one. */
export const TOKEN_BYTES = TEMPLATE.length;

/** Where the sequence number starts in the line of a token that crossed unchanged. */
export const SEQUENCE_OFFSET = SEQUENCE_AT;
/** Where the stamp starts, counted from the sequence number. */
export const STAMP_OFFSET = STAMP_AT - SEQUENCE_AT;
/** What stands before the sequence number wherever a relay that rewrites JSON may have put it. */
export const CONTENT_MARK = `"content":"`;

function writeDigits(into: Uint8Array, at: number, digits: number, value: number): void {
  let rest = value;
  for (let i = at + digits - 1; i >= at; i--) {
    const next = Math.floor(rest / 10);
    into[i] = 48 + (rest - next * 10);
    rest = next;
  }
}

/** Reads `digits` decimal digits at `at`; NaN if there is anything else. */
export function readDigits(from: Uint8Array, at: number, digits: number): number {
  let value = 0;
  for (let i = at; i < at + digits; i++) {
    const digit = (from[i] ?? 0) - 48;
    if (digit < 0 || digit > 9) return Number.NaN;
    value = value * 10 + digit;
  }
  return value;
}

/** Sequence number of the token whose content starts at `at`. */
export function readSequence(from: Uint8Array, at: number): number {
  return readDigits(from, at, SEQUENCE_DIGITS);
}

/** When that token was written: ms of the shared clock. */
export function readStamp(from: Uint8Array, at: number): number {
  return readDigits(from, at + STAMP_OFFSET, STAMP_DIGITS) / 1_000;
}

/** `count` tokens from number `first` on, stamped `stampMs(sequence)` (ms of the shared clock). */
export function encodeTokens(
  first: number,
  count: number,
  stampMs: (sequence: number) => number,
): Uint8Array {
  const out = Buffer.allocUnsafeSlow(TOKEN_BYTES * count);
  for (let i = 0; i < count; i++) {
    const at = i * TOKEN_BYTES;
    TEMPLATE.copy(out, at);
    writeDigits(out, at + SEQUENCE_AT, SEQUENCE_DIGITS, first + i);
    writeDigits(out, at + STAMP_AT, STAMP_DIGITS, Math.round(stampMs(first + i) * 1_000));
  }
  return out;
}

/** What ends a stream: the finish reason and `[DONE]`. */
export const STREAM_END = Buffer.from(
  `data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1700000000,"model":"${MODEL}","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n`,
);

/** A whole answer. `receivedBytes` goes back as `usage.prompt_tokens`, so that a lost byte shows. */
export function encodeAnswer(contentBytes: number, receivedBytes: number): Uint8Array {
  const answer = {
    id: "chatcmpl-bench",
    object: "chat.completion",
    created: 1_700_000_000,
    model: MODEL,
    choices: [
      { index: 0, message: { role: "assistant", content: "x".repeat(contentBytes) }, finish_reason: "stop" },
    ],
    usage: {
      prompt_tokens: receivedBytes,
      completion_tokens: contentBytes,
      total_tokens: receivedBytes + contentBytes,
    },
  };
  return Buffer.from(JSON.stringify(answer));
}

/**
 * The body of a chat request.
 *
 * @param bytes wanted length; the message is padded up to it and never cut below its shortest form
 */
export function encodeQuestion(bench: BenchRequest, stream: boolean, bytes: number): Buffer {
  const body = (text: string) =>
    JSON.stringify({ model: MODEL, bench, stream, messages: [{ role: "user", content: text }] });
  return Buffer.from(body("hello".padEnd(bytes - body("").length, "x")));
}

/**
 * The `bench` object of a request body. It stands in the first bytes on purpose: a body of 1 MB is
 * counted, not parsed, so that the backend costs the same whoever stands in front of it.
 */
export function decodeQuestion(body: Uint8Array): { bench: BenchRequest; stream: boolean } {
  const head = Buffer.from(body.buffer, body.byteOffset, Math.min(body.byteLength, 1_024)).toString("latin1");
  const found = /"bench":\s*(\{[^}]*\})/.exec(head)?.[1];
  return {
    bench: found === undefined ? {} : (JSON.parse(found) as BenchRequest),
    stream: /"stream":\s*true/.test(head),
  };
}
