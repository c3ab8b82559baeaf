import type { TokenCounts } from "./messages.ts";

/** Reads `token_counts` as both versions write them; what is no whole number is left out. */
export function tokenCounts(fields: Record<string, unknown>): TokenCounts | undefined {
  const value = fields["token_counts"];
  if (typeof value !== "object" || value === null) return undefined;
  const counts: TokenCounts = {};
  const from = value as Record<string, unknown>;
  for (const [ours, theirs] of [
    ["prompt", "prompt_tokens"],
    ["completion", "completion_tokens"],
    ["total", "total_tokens"],
  ] as const) {
    const count = from[theirs];
    if (typeof count === "number" && Number.isSafeInteger(count) && count >= 0) counts[ours] = count;
  }
  return counts;
}

export function wireTokens(tokens: TokenCounts): Record<string, number> {
  return {
    ...(tokens.prompt !== undefined && { prompt_tokens: tokens.prompt }),
    ...(tokens.completion !== undefined && { completion_tokens: tokens.completion }),
    ...(tokens.total !== undefined && { total_tokens: tokens.total }),
  };
}
