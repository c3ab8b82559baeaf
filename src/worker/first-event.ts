/**
 * Some backends answer 200 and then say in the first event of the stream that they failed. Looking at
 * that one event before anything is passed on gives the client the status it should have had.
 */

/** The error that a stream begins with. */
export interface StreamError {
  status: number;
  /** JSON, in the dialect in which the event spoke. */
  body: Uint8Array<ArrayBuffer>;
}

/** Bytes that a stream may hold back before its first event is complete. */
export const FIRST_EVENT_BYTES = 64 * 1024;

const decoder = new TextDecoder();
const encoder = new TextEncoder();

/**
 * Whether the bytes hold the first event whole. Comments (keep-alives) before it are no event.
 *
 * @param ended the stream has ended, and an event without its blank line counts as whole
 */
export function readFirstEvent(
  held: Uint8Array,
  ended: boolean,
): { complete: boolean; error: StreamError | undefined } {
  const text = decoder.decode(held);
  const blocks = text.split(/\r\n\r\n|\n\n|\r\r/);
  // The last block has no blank line behind it yet.
  const whole = ended ? blocks : blocks.slice(0, -1);
  for (const block of whole) {
    if (cannotBeError(block)) return { complete: true, error: undefined };
    const fields = block.split(/\r\n|\n|\r/).filter((line) => line !== "" && !line.startsWith(":"));
    if (fields.length > 0) return { complete: true, error: errorOf(fields) };
  }
  return { complete: held.byteLength > FIRST_EVENT_BYTES, error: undefined };
}

/** Of an event that nothing in it calls an error, in letters or in escapes: that is nearly every one. */
function cannotBeError(block: string): boolean {
  const isEvent = /^[^:\r\n]/.test(block);
  return isEvent && !block.includes("error") && !block.includes("\\u");
}

function errorOf(lines: string[]): StreamError | undefined {
  let event = "";
  const data: string[] = [];
  for (const line of lines) {
    const colon = line.indexOf(":");
    const name = colon === -1 ? line : line.slice(0, colon);
    const value = colon === -1 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (name === "event") event = value;
    else if (name === "data") data.push(value);
    // llama.cpp: a field of its own.
    else if (name === "error") return streamError(parse(value), true);
  }
  return streamError(parse(data.join("\n")), event === "error");
}

function parse(json: string): Record<string, unknown> | undefined {
  if (!json.startsWith("{")) return undefined;
  try {
    return JSON.parse(json) as Record<string, unknown>;
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** @param declared the event says by itself that it is an error, even where the data has no `error` */
function streamError(
  payload: Record<string, unknown> | undefined,
  declared: boolean,
): StreamError | undefined {
  if (payload === undefined) return undefined;
  const inner = payload["error"];
  if (isRecord(inner) || (typeof inner === "string" && inner !== "")) {
    const error = isRecord(inner) ? inner : { message: inner };
    return { status: statusOf(error, payload), body: encoder.encode(JSON.stringify(payload)) };
  }
  if (!declared && payload["type"] !== "error") return undefined;
  return { status: statusOf(payload, payload), body: encoder.encode(JSON.stringify({ error: payload })) };
}

/** Words in an error's type or code, and the HTTP status that the APIs give such an error. */
const STATUS_OF_WORD: readonly (readonly [RegExp, number])[] = [
  [/rate_?limit|insufficient_quota|too_many_requests/, 429],
  [/overloaded/, 529],
  [/unavailable|server_busy/, 503],
  [/authentication|invalid_api_key|unauthorized/, 401],
  [/permission|forbidden/, 403],
  [/not_?found/, 404],
  [/too_large/, 413],
  [/timeout/, 504],
  [/invalid_?request|bad_?request|badrequest|exceed_context_size|context_length_exceeded|validation/, 400],
  [/internal|api_error|server_error/, 500],
];

function statusOf(error: Record<string, unknown>, payload: Record<string, unknown>): number {
  const candidates = [
    error["status"],
    error["status_code"],
    error["code"],
    payload["status"],
    payload["code"],
  ];
  for (const candidate of candidates) {
    const status = typeof candidate === "string" ? Number(candidate) : candidate;
    if (typeof status === "number" && Number.isInteger(status) && status >= 400 && status <= 599)
      return status;
  }
  const words = [error["type"], error["code"]]
    .filter((word) => typeof word === "string")
    .join(" ")
    .toLowerCase();
  return STATUS_OF_WORD.find(([pattern]) => pattern.test(words))?.[1] ?? 502;
}
