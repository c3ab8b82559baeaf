import type { ResponseHead } from "../protocol/messages.ts";
import type { ClientError } from "./client-error.ts";

const decoder = new TextDecoder();

/** Bytes of a late error answer that are kept to word the error event. */
export const MAX_LATE_ERROR = 64 * 1024;

/** An answer that is no stream, come after the stream had been opened by a keep-alive. */
export interface LateAnswer {
  head: ResponseHead;
  body: Uint8Array[];
  bytes: number;
}

/** The error behind an answer that came after the stream had been opened by a keep-alive. */
export function lateError(refused: LateAnswer | undefined): ClientError {
  if (refused === undefined) {
    return {
      status: 502,
      code: "backend_unreachable",
      message: "The backend ended without an answer",
      origin: "backend",
    };
  }
  const { status } = refused.head;
  const code = status < 400 ? "backend_not_streaming" : "backend_error";
  return {
    status: status < 400 ? 502 : status,
    code,
    message: messageIn(decoder.decode(Buffer.concat(refused.body)), status),
    origin: "backend",
  };
}

function messageIn(body: string, status: number): string {
  try {
    const parsed = JSON.parse(body) as { error?: { message?: unknown } | string; message?: unknown };
    const message =
      typeof parsed.error === "object" ? parsed.error.message : (parsed.error ?? parsed.message);
    if (typeof message === "string" && message !== "") return message;
  } catch {
    // Not JSON: the status has to speak for it.
  }
  return status < 400
    ? `The backend answered ${status} without a stream although one was asked for`
    : `The backend answered with status ${status}`;
}
