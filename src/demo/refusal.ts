/** Whose shape an answer takes. */
export type Dialect = "openai" | "anthropic" | "ollama";

export interface RefusalOptions {
  code?: string;
  /** Path of the field at fault, such as `messages.0.role`. */
  param?: string;
  /** Methods that the path takes, with status 405. */
  allow?: string;
}

/** A request that is answered with an error; the text is meant for the client. */
export class Refusal extends Error {
  override readonly name = "Refusal";
  readonly status: number;
  readonly code: string | null;
  readonly param: string | null;
  readonly allow: string | undefined;

  constructor(status: number, message: string, options: RefusalOptions = {}) {
    super(message);
    this.status = status;
    this.code = options.code ?? null;
    this.param = options.param ?? null;
    this.allow = options.allow;
  }
}

/** Error types of the Anthropic API by status: https://docs.anthropic.com/en/api/errors */
const ANTHROPIC_TYPES: Record<number, string> = {
  404: "not_found_error",
  413: "request_too_large",
  500: "api_error",
};

function shapeRefusal(refusal: Refusal, dialect: Dialect): unknown {
  const { status, message, param, code } = refusal;
  switch (dialect) {
    case "openai":
      return {
        error: { message, type: status < 500 ? "invalid_request_error" : "server_error", param, code },
      };
    case "anthropic":
      return { type: "error", error: { type: ANTHROPIC_TYPES[status] ?? "invalid_request_error", message } };
    case "ollama":
      return { error: message };
  }
}

/** The error response in the dialect's shape. */
export function answerRefusal(refusal: Refusal, dialect: Dialect): Response {
  const headers = refusal.allow === undefined ? {} : { allow: refusal.allow };
  return Response.json(shapeRefusal(refusal, dialect), { status: refusal.status, headers });
}
