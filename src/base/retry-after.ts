/** Longest that a peer is believed: the longest rate limits of public CAs last a week. */
export const LONGEST_WAIT_MS = 8 * 86_400_000;

/**
 * Milliseconds that a `Retry-After` header asks to wait (RFC 9110 §10.2.3: seconds or a date), at most
 * eight days; undefined if there is none, it is damaged, or it lies in the past.
 *
 * @param nowMs wall time, against which a date is measured
 */
export function parseRetryAfter(header: string | null | undefined, nowMs: number): number | undefined {
  const text = header?.trim() ?? "";
  if (/^\d{1,10}$/.test(text)) return Math.min(Number(text) * 1_000, LONGEST_WAIT_MS);
  // A date of RFC 9110 §5.6.7 begins with the name of a day, which keeps "-1" and "1.5" from being years.
  if (!/^(Mon|Tue|Wed|Thu|Fri|Sat|Sun)/.test(text)) return undefined;
  const at = Date.parse(text);
  return Number.isNaN(at) || at <= nowMs ? undefined : Math.min(at - nowMs, LONGEST_WAIT_MS);
}
