import { errorBody, type Dialect } from "../protocol/dialect.ts";
import type { ClientError } from "./client-error.ts";
import { idHeaders } from "./dialect.ts";

/** An error as a whole answer. */
export function errorResponse(error: ClientError, dialect: Dialect, requestId: string): Response {
  const headers: Record<string, string> = {
    "content-type": "application/json",
    ...idHeaders(dialect, requestId),
    "x-modelrelay-error": error.origin,
  };
  if (error.retryAfterSecs !== undefined) headers["retry-after"] = String(error.retryAfterSecs);
  return new Response(errorBody(dialect, error, requestId), { status: error.status, headers });
}
