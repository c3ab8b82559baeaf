/** How long to wait between attempts. */
export interface BackoffPolicy {
  /** Upper bound of the first wait, in ms. */
  baseMs: number;
  /** Upper bound of any wait, in ms. */
  capMs: number;
}

/**
 * Milliseconds to wait before attempt `attempt`, with full jitter: uniform in
 * [0, min(capMs, baseMs * 2^(attempt - 1))), so that workers cut off together do not return together.
 *
 * @param attempt 1 for the first retry
 * @param random in [0, 1); injected, so that tests need no seed
 * @throws {RangeError} if `attempt` is not a positive integer
 */
export function backoffMs(attempt: number, policy: BackoffPolicy, random: () => number): number {
  if (!Number.isSafeInteger(attempt) || attempt < 1) {
    throw new RangeError(
      `Cannot compute a delay: "attempt" must be a positive integer, current value is ${attempt}`,
    );
  }
  return random() * Math.min(policy.capMs, policy.baseMs * 2 ** Math.min(attempt - 1, 52));
}
