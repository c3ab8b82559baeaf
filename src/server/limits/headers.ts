import type { Dialect } from "../../protocol/dialect.ts";
import type { Mark, Standing } from "./limiter.ts";

/** Fields that tell of limits. A backend may have set some as well; where the relay has limits, those count. */
export const LIMIT_FIELD = /^(x-ratelimit-|anthropic-ratelimit-)/;

/** Writes how far the limits are used up into an answer. @param wall ms since the epoch */
export function stampLimits(headers: Headers, standing: Standing, dialect: Dialect, wall: number): void {
  const foreign = [...headers.keys()].filter((name) => LIMIT_FIELD.test(name));
  for (const name of foreign) headers.delete(name);
  for (const kind of ["requests", "tokens"] as const) {
    const mark = standing[kind];
    if (mark === undefined) continue;
    stamp(headers, mark, kind);
    if (dialect === "anthropic") stampAnthropic(headers, mark, kind, wall);
  }
}

function stamp(headers: Headers, { limit, remaining, resetMs }: Mark, kind: string): void {
  headers.set(`x-ratelimit-limit-${kind}`, String(limit));
  headers.set(`x-ratelimit-remaining-${kind}`, String(remaining));
  headers.set(`x-ratelimit-reset-${kind}`, formatReset(resetMs));
}

function stampAnthropic(
  headers: Headers,
  { limit, remaining, resetMs }: Mark,
  kind: string,
  wall: number,
): void {
  headers.set(`anthropic-ratelimit-${kind}-limit`, String(limit));
  headers.set(`anthropic-ratelimit-${kind}-remaining`, String(remaining));
  headers.set(`anthropic-ratelimit-${kind}-reset`, new Date(Math.ceil(wall + resetMs)).toISOString());
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
