import { formatBytes } from "../base/bytes.ts";
import { formatDuration } from "../base/duration.ts";
import { V1_MAX_MESSAGE } from "../protocol/limits.ts";
import { NEEDS, type LinkFailure } from "../protocol/link.ts";
import type { Refusal } from "./core/types.ts";

/** What a client is told when its request fails. The message is safe to show: no path, stack or secret. */
export interface ClientError {
  status: number;
  /** Stable, for programs. */
  code: string;
  message: string;
  /** Who failed. */
  origin: "relay" | "worker" | "backend";
  retryAfterSecs?: number;
  /** Instead of seconds, where it is known exactly. */
  retryAfterMs?: number;
  /** Programs are not to try again by themselves. */
  noRetry?: true;
}

export function relayError(
  status: number,
  code: string,
  message: string,
  retryAfterSecs?: number,
): ClientError {
  return { status, code, message, origin: "relay", ...(retryAfterSecs !== undefined && { retryAfterSecs }) };
}

/** The answer to a request whose key was taken back. */
export function keyRevoked(): ClientError {
  return relayError(401, "invalid_api_key", "The API key was revoked");
}

/** Models named in a message at most: a list of a thousand helps nobody. */
const MAX_NAMED = 10;

function nameModels(models: readonly string[]): string {
  if (models.length === 0) return "no worker is connected that offers a model";
  const named = models
    .slice(0, MAX_NAMED)
    .map((model) => `"${model}"`)
    .join(", ");
  return models.length > MAX_NAMED
    ? `offered are ${named} and ${models.length - MAX_NAMED} more`
    : `offered are ${named}`;
}

/** The answer to a request that the core gave up. */
export function refusalError(refusal: Refusal, model: string | undefined): ClientError {
  switch (refusal.code) {
    case "model_not_found":
      return refusal.model === undefined
        ? relayError(503, "no_worker", "No worker is connected", 5)
        : relayError(
            404,
            "model_not_found",
            `Model "${refusal.model}" is not offered: ${nameModels(refusal.offered)}`,
          );
    case "link_cannot_carry":
      if ((refusal.needs & ~NEEDS.large) === 0) {
        return {
          status: 502,
          code: "worker_link_too_small",
          message: `The request's body does not fit into one message (${formatBytes(V1_MAX_MESSAGE)}) of the link to the workers that could serve it; they need a newer version`,
          origin: "worker",
        };
      }
      return {
        status: 502,
        code: "worker_link_text_only",
        message:
          "The workers that could serve this request speak link protocol v1, which carries text in a POST only; it needs a worker that speaks protocol v2",
        origin: "worker",
      };
    case "queue_full":
      return relayError(
        503,
        "queue_full",
        `All workers are busy and ${refusal.limit} requests wait already`,
        5,
      );
    case "queue_timeout": {
      const why = refusal.offered ? "every worker that offers it stayed busy" : "no worker offers it now";
      const waited = formatDuration(refusal.waitedMs);
      return relayError(
        503,
        "queue_timeout",
        `Model "${model ?? "any"}" was waited for ${waited}: ${why}`,
        5,
      );
    }
    case "worker_lost":
      return {
        status: 503,
        code: "worker_lost",
        message: `The request was given up after ${refusal.times} workers in a row were lost while they served it`,
        origin: "worker",
        retryAfterSecs: 5,
      };
    case "stream_lost":
      return {
        status: 502,
        code: "worker_lost",
        message: "The worker was lost in the middle of the answer, which is incomplete",
        origin: "worker",
      };
    case "request_timeout":
      return relayError(
        504,
        "request_timeout",
        `The request was not finished within ${formatDuration(refusal.afterMs)}`,
      );
    case "draining":
      return relayError(503, "draining", "The relay is shutting down", 5);
    case "moved":
      return relayError(503, "draining", "Another process has taken the relay's place: ask again", 1);
  }
}

/** Addresses with their scheme or of digits: workers in the field quote the one that they asked in vain. */
const ADDRESS =
  /\b(?:https?|wss?):\/\/[^\s"'<>()]+|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b|\[[0-9a-f:]*:[0-9a-f:.]*\](?::\d+)?/gi;

/** The answer to a request whose worker reported a failure. Where a backend is, is not for clients. */
export function failureError(failure: LinkFailure): ClientError {
  const message = failure.message.replaceAll(ADDRESS, "(address)");
  return {
    status: failure.status,
    code: failure.code,
    message: message === "" ? "The backend failed without saying why" : message,
    origin: failure.origin,
  };
}
