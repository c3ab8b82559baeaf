import type { Dialect } from "../../protocol/dialect.ts";
import type { HeaderFields } from "../../protocol/messages.ts";
import type { Moment } from "./account.ts";
import type { Mark, Standing } from "./limiter.ts";

/** Fields that tell of limits. A backend may have set some as well; where the relay has limits, those count. */
export const LIMIT_FIELD = /^(x-ratelimit-|anthropic-ratelimit-)/;

/** Writes how far the limits are used up into the fields of an answer. */
export function stampLimits(fields: HeaderFields, standing: Standing, dialect: Dialect, at: Moment): void {
  for (const name in fields) if (LIMIT_FIELD.test(name)) delete fields[name];
  const { requests, tokens } = standing;
  // The names are written out: put together anew they cost as much as all the rest of this.
  if (requests !== undefined) {
    fields["x-ratelimit-limit-requests"] = String(requests.limit);
    fields["x-ratelimit-remaining-requests"] = String(requests.remaining);
    fields["x-ratelimit-reset-requests"] = formatReset(requests.resetMs);
  }
  if (tokens !== undefined) {
    fields["x-ratelimit-limit-tokens"] = String(tokens.limit);
    fields["x-ratelimit-remaining-tokens"] = String(tokens.remaining);
    fields["x-ratelimit-reset-tokens"] = formatReset(tokens.resetMs);
  }
  if (dialect !== "anthropic") return;
  const { wall } = at;
  if (requests !== undefined) stampAnthropic(fields, requests, "requests", wall);
  if (tokens !== undefined) stampAnthropic(fields, tokens, "tokens", wall);
}

function stampAnthropic(
  fields: HeaderFields,
  { limit, remaining, resetMs }: Mark,
  kind: "requests" | "tokens",
  wall: number,
): void {
  fields[`anthropic-ratelimit-${kind}-limit`] = String(limit);
  fields[`anthropic-ratelimit-${kind}-remaining`] = String(remaining);
  fields[`anthropic-ratelimit-${kind}-reset`] = new Date(Math.ceil(wall + resetMs)).toISOString();
}

/** A duration as OpenAI writes it, which is Go's way: `0s`, `20ms`, `8.64s`, `6m0s`, `1h0m30.5s`. */
export function formatReset(durationMs: number): string {
  // A sum of fractions that is a hair over a whole number is that number.
  const ms = Math.max(0, Math.ceil(durationMs - 1e-6));
  if (ms === 0) return "0s";
  if (ms < 1_000) return `${ms}ms`;
  const hours = Math.floor(ms / 3_600_000);
  const minutes = Math.floor((ms % 3_600_000) / 60_000);
  const seconds = `${(ms % 60_000) / 1_000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}
