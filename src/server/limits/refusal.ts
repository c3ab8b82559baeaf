import { formatDuration } from "../../base/duration.ts";
import { unreachable } from "../../base/errors.ts";
import type { ClientError } from "../client-error.ts";
import type { LimitRefusal, SubjectKind } from "./account.ts";

const WHOSE: Record<SubjectKind, string> = {
  key: "This API key",
  address: "This address",
  relay: "This relay",
};

/** Beyond it a program is told not to try again by itself: one of the SDKs would wait for days, one not at all. */
const LONGEST_RETRY_MS = 60_000;

/** The answer to a request that is over a limit. */
export function limitError(refusal: LimitRefusal): ClientError {
  const { waitMs } = refusal;
  const error: ClientError = {
    status: 429,
    code: "rate_limit_exceeded",
    message: messageOf(refusal),
    origin: "relay",
  };
  if (waitMs > LONGEST_RETRY_MS) error.noRetry = true;
  if (Number.isFinite(waitMs)) error.retryAfterMs = waitMs;
  return error;
}

function messageOf(refusal: LimitRefusal): string {
  const { limit, allowed, left, needed, waitMs } = refusal;
  const who = WHOSE[refusal.kind];
  const when = `try again in ${formatDuration(waitMs)}`;
  switch (limit) {
    case "concurrency":
      return `${who} may run ${count(allowed, "request")} at once, and as many are running: ${when}, or when one has ended`;
    case "requests":
      return Number.isFinite(waitMs)
        ? `${who} may send ${count(allowed, "request")} per minute, and has sent as many: ${when}`
        : `${who} may send no requests`;
    case "tokens":
      return Number.isFinite(waitMs)
        ? `${who} may use ${count(allowed, "token")} per minute, of which ${left} are left, and this request needs up to ${needed}: ${when}`
        : `${who} may use ${count(allowed, "token")} per minute, and this request needs up to ${needed}: shorten the prompt, or lower the most tokens that the answer may have`;
    case "budget": {
      const has = `${who} has a budget of ${count(allowed, "token")} per ${refusal.period ?? "day"}`;
      if (!Number.isFinite(waitMs))
        return `${has}, and this request needs up to ${needed}: shorten the prompt, or lower the most tokens that the answer may have`;
      return left === 0
        ? `${has}, which is used up: it is renewed in ${formatDuration(waitMs)}`
        : `${has}, of which ${left} are left, and this request needs up to ${needed}: it is renewed in ${formatDuration(waitMs)}`;
    }
    default:
      return unreachable(limit);
  }
}

function count(amount: number, unit: string): string {
  return `${amount} ${unit}${amount === 1 ? "" : "s"}`;
}
