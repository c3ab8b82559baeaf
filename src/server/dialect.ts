import type { Dialect } from "../protocol/dialect.ts";

/**
 * What keeps a silent stream alive without breaking a parser: widely used SDKs fail on a blank line
 * after a comment, on empty data and on a bare colon. `undefined` where the dialect has no such form.
 */
export function keepAlive(dialect: Dialect): string | undefined {
  switch (dialect) {
    case "anthropic":
      return 'event: ping\ndata: {"type":"ping"}\n\n';
    case "openai":
    case "openai-responses":
      return ": ping\n";
    case "ollama":
      return undefined;
  }
}

/** Header fields in which clients of the dialect look for the request's id. */
export function idHeaders(dialect: Dialect, requestId: string): Record<string, string> {
  // Anthropic's SDKs know it under this name alone.
  return dialect === "anthropic"
    ? { "x-request-id": requestId, "request-id": requestId }
    : { "x-request-id": requestId };
}

/** Streams whose end can be told by one more event or line: server-sent events, and Ollama's lines. */
export const STREAM_TYPE = /^(text\/event-stream|application\/x-ndjson)\b/i;
export const STREAM_HEADERS = { "cache-control": "no-cache, no-transform", "x-accel-buffering": "no" };
