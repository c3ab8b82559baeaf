import type { ClientError } from "./client-error.ts";

/** The API family that a path belongs to: it decides how errors and keep-alives are written. */
export type Dialect = "openai" | "openai-responses" | "anthropic" | "ollama";

/** @param path without the query */
export function dialectOf(path: string, headers?: Headers): Dialect {
  if (path.startsWith("/v1/messages")) return "anthropic";
  if (path.startsWith("/v1/responses")) return "openai-responses";
  if (path.startsWith("/api/")) return "ollama";
  // The two families share /v1/models; Anthropic's SDKs always send their version.
  if (path.startsWith("/v1/models") && headers?.has("anthropic-version") === true) return "anthropic";
  return "openai";
}

/** An error as the JSON body of an answer. */
export function errorBody(dialect: Dialect, error: ClientError, requestId: string): string {
  switch (dialect) {
    case "anthropic":
      return JSON.stringify({ ...anthropicError(error), request_id: requestId });
    case "ollama":
      return JSON.stringify({ error: error.message });
    case "openai":
    case "openai-responses":
      return JSON.stringify({ error: openaiError(error) });
  }
}

/** An error as an event of a stream that has begun. */
export function errorEvent(dialect: Dialect, error: ClientError): string {
  switch (dialect) {
    case "anthropic":
      return `event: error\ndata: ${JSON.stringify(anthropicError(error))}\n\n`;
    case "openai-responses": {
      const { message, code, param } = openaiError(error);
      const event = { type: "error", sequence_number: 0, code, message, param, error: openaiError(error) };
      return `event: error\ndata: ${JSON.stringify(event)}\n\n`;
    }
    case "ollama":
      return `${JSON.stringify({ error: error.message })}\n`;
    case "openai":
      return `data: ${JSON.stringify({ error: openaiError(error) })}\n\n`;
  }
}

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
  return { "x-request-id": requestId, ...(dialect === "anthropic" && { "request-id": requestId }) };
}

function openaiError(error: ClientError): { message: string; type: string; param: null; code: string } {
  return { message: error.message, type: openaiType(error.status), param: null, code: error.code };
}

function openaiType(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

function anthropicError(error: ClientError): { type: "error"; error: { type: string; message: string } } {
  return { type: "error", error: { type: anthropicType(error.status), message: error.message } };
}

const ANTHROPIC_TYPES: Record<number, string> = {
  401: "authentication_error",
  403: "permission_error",
  404: "not_found_error",
  413: "request_too_large",
  429: "rate_limit_error",
  503: "overloaded_error",
  504: "timeout_error",
};

function anthropicType(status: number): string {
  return ANTHROPIC_TYPES[status] ?? (status >= 500 ? "api_error" : "invalid_request_error");
}
