import type { HeaderFields } from "./messages.ts";

/** The API family that a path belongs to: it decides how errors are written. */
export type Dialect = "openai" | "openai-responses" | "anthropic" | "ollama";

/** An error as a client is told it. */
export interface ApiError {
  /** HTTP status, also where a stream has begun with another. */
  status: number;
  /** Stable, for programs. */
  code: string;
  message: string;
}

/** @param path without the query */
export function dialectOf(path: string, headers?: HeaderFields): Dialect {
  if (path.startsWith("/v1/messages")) return "anthropic";
  if (path.startsWith("/v1/responses")) return "openai-responses";
  if (path.startsWith("/api/")) return "ollama";
  // The two families share /v1/models; Anthropic's SDKs always send their version.
  if (path.startsWith("/v1/models") && headers?.["anthropic-version"] !== undefined) return "anthropic";
  return "openai";
}

/** An error as the JSON body of an answer. */
export function errorBody(dialect: Dialect, error: ApiError, requestId: string): string {
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

/** Where a stream stands: between two events, at the end of a line inside one, or inside a line. */
export type Boundary = "event" | "line" | "inside";

/** An error as the last event of a stream that has begun; what the stream broke off in is ended first. */
export function errorEvent(dialect: Dialect, error: ApiError, boundary: Boundary): string {
  return closing(dialect, boundary) + eventOf(dialect, error);
}

/** An empty line is an error where lines are JSON. */
function closing(dialect: Dialect, boundary: Boundary): string {
  if (dialect === "ollama") return boundary === "inside" ? "\n" : "";
  return boundary === "event" ? "" : boundary === "line" ? "\n" : "\n\n";
}

function eventOf(dialect: Dialect, error: ApiError): string {
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

function openaiError(error: ApiError): { message: string; type: string; param: null; code: string } {
  return { message: error.message, type: openaiType(error.status), param: null, code: error.code };
}

function openaiType(status: number): string {
  if (status === 401) return "authentication_error";
  if (status === 403) return "permission_error";
  if (status === 429) return "rate_limit_error";
  return status >= 500 ? "server_error" : "invalid_request_error";
}

function anthropicError(error: ApiError): { type: "error"; error: { type: string; message: string } } {
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
