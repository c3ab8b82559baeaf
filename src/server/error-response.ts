import { errorBody, type Dialect } from "../protocol/dialect.ts";
import type { HeaderFields } from "../protocol/messages.ts";
import type { ClientError } from "./client-error.ts";
import { idHeaders } from "./dialect.ts";

/**
 * An error as a whole answer.
 *
 * @param limits add what they tell of themselves
 */
export function errorResponse(
  error: ClientError,
  dialect: Dialect,
  requestId: string,
  limits?: { stamp(fields: HeaderFields): void },
): Response {
  const headers: HeaderFields = {
    "content-type": "application/json",
    ...idHeaders(dialect, requestId),
    "x-modelrelay-error": error.origin,
  };
  const { retryAfterMs, retryAfterSecs = retryAfterMs && Math.ceil(retryAfterMs / 1_000) } = error;
  if (retryAfterSecs !== undefined) headers["retry-after"] = String(retryAfterSecs);
  // The SDKs of OpenAI and Anthropic look for these two as well.
  if (retryAfterMs !== undefined) headers["retry-after-ms"] = String(retryAfterMs);
  if (error.noRetry === true) headers["x-should-retry"] = "false";
  // The rest of the body is not read, so that nothing can follow it (RFC 9110 §15.5.9).
  if (error.status === 408) headers["connection"] = "close";
  limits?.stamp(headers);
  return new Response(errorBody(dialect, error, requestId), { status: error.status, headers });
}
