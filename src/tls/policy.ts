const HOUR_MS = 3_600_000;
const DAY_MS = 86_400_000;

/** A span of time, in milliseconds since the epoch. */
export interface Validity {
  notBefore: number;
  notAfter: number;
}

/** When a CA wants a certificate renewed (RFC 9773 §4.2), in milliseconds since the epoch. */
export interface RenewalWindow {
  start: number;
  end: number;
}

/** What a CA says about the renewal of a certificate (RFC 9773). */
export interface RenewalInfo extends RenewalWindow {
  /** Before then the CA is not to be asked again, in milliseconds since the epoch. */
  retryAt: number;
  /** A page that says why, if the CA wants the renewal for a reason. */
  explanationUrl?: string;
}

/** Of the lifetime; the rest is there for tries that fail. */
const RENEW_AT = 2 / 3;
/** Of the lifetime, how much earlier a renewal may come, so that many relays do not come at once. */
const RENEW_JITTER = 0.03;
/** Of the lifetime, what a renewal by the CA's window leaves for tries that fail, if the window allows. */
const WINDOW_RESERVE = 0.05;

/**
 * The moment to renew a certificate, in milliseconds since the epoch; one in the past means at once.
 *
 * By the CA's window where there is a usable one, uniformly in it (RFC 9773 §4.2); else at two thirds of
 * the certificate's real lifetime, or up to 3 % of it earlier: never a fixed number of days.
 *
 * @param random in [0, 1)
 */
export function renewalTime(facts: Validity, ari: RenewalWindow | undefined, random: number): number {
  const lifetime = Math.max(facts.notAfter - facts.notBefore, 0);
  if (ari !== undefined && isUsable(ari, facts)) {
    const chosen = ari.start + (ari.end - ari.start) * random;
    const latest = Math.max(ari.start, facts.notAfter - lifetime * WINDOW_RESERVE);
    return Math.round(Math.min(chosen, latest));
  }
  return Math.round(facts.notBefore + lifetime * (RENEW_AT - RENEW_JITTER * random));
}

/** A window without length counts as no answer (RFC 9773 §4.2); one after the expiry would be too late. */
function isUsable({ start, end }: RenewalWindow, { notAfter }: Validity): boolean {
  return Number.isFinite(start) && Number.isFinite(end) && start < end && start < notAfter;
}

const MINUTE_MS = 60_000;
/**
 * Waits after the first, second, … failure. The early ones are for what passes quickly (a port that is
 * opened, a name that is set); with them, six tries fall in the first hour, and Let's Encrypt allows five
 * failed validations at once and one more every 12 minutes.
 */
const RETRY_TABLE_MS: readonly number[] = [1, 2, 5, 15, 30, 60, 120, 240, 360].map((m) => m * MINUTE_MS);
/** Of a wait, by how much it may be longer or shorter. */
const RETRY_JITTER = 0.2;
/** Let's Encrypt's longest limit is a week; a longer `Retry-After` is a mistake that would end renewal. */
const LONGEST_RETRY_AFTER_MS = 8 * DAY_MS;

/**
 * Milliseconds to wait after `failures` failed tries in a row.
 *
 * @param failures 1 after the first failure
 * @param random in [0, 1)
 * @param retryAfterMs the CA's own wait: a lower bound (RFC 9110 §10.2.3), of eight days at most
 */
export function retryDelayMs(failures: number, random: number, retryAfterMs?: number): number {
  const index = Math.min(Math.max(Math.trunc(failures), 1), RETRY_TABLE_MS.length) - 1;
  const base = RETRY_TABLE_MS[index] ?? HOUR_MS;
  const delay = base * (1 - RETRY_JITTER + 2 * RETRY_JITTER * random);
  return Math.round(Math.max(delay, atLeast(retryAfterMs, random)));
}

/** Not all at the same moment: up to a minute later. */
function atLeast(retryAfterMs: number | undefined, random: number): number {
  if (retryAfterMs === undefined || !(retryAfterMs > 0)) return 0;
  return Math.min(retryAfterMs, LONGEST_RETRY_AFTER_MS) + MINUTE_MS * random;
}

export interface RetryInput {
  /** All times are milliseconds since the epoch. */
  nowMs: number;
  /** Failed tries in a row, 1 after the first. */
  failures: number;
  /** In [0, 1). */
  random: number;
  /** The CA's own earliest time. */
  retryAtMs?: number | undefined;
  /** The certificate that is served meanwhile, if there is one. */
  current?: Validity | undefined;
}

/** A twelfth of an hour's five: what Let's Encrypt gives back of failed validations. */
const STEADY_RETRY_MS = 12 * MINUTE_MS;

/**
 * The moment of the next try. As {@link retryDelayMs}, but the tries come closer together while the
 * served certificate runs out: within an eighth of the time that is left, and every hour at least once it
 * has expired. The CA's own time stays a lower bound.
 */
export function nextTryAt({ nowMs, failures, random, retryAtMs, current }: RetryInput): number {
  const retryAfterMs = retryAtMs === undefined ? undefined : retryAtMs - nowMs;
  const delay = retryDelayMs(failures, random);
  let longest = Number.POSITIVE_INFINITY;
  if (current !== undefined) {
    const leftMs = current.notAfter - nowMs;
    // A certificate of an hour cannot wait as one of months does.
    const shortest = Math.min(STEADY_RETRY_MS, Math.max(current.notAfter - current.notBefore, 0) / 50);
    longest = leftMs > 0 ? Math.max(leftMs / 8, shortest) : HOUR_MS;
  }
  return nowMs + Math.round(Math.max(Math.min(delay, longest), atLeast(retryAfterMs, random)));
}

/** When no `Retry-After` came, or the question failed for longer than a moment (RFC 9773 §4.3.3). */
const ARI_DEFAULT_MS = 6 * HOUR_MS;

/**
 * Milliseconds until a CA's renewal information is asked for again, within the bounds that RFC 9773 §4.3.2
 * gives for instance.
 */
export function ariDelayMs(retryAfterMs: number | undefined): number {
  if (retryAfterMs === undefined || !Number.isFinite(retryAfterMs)) return ARI_DEFAULT_MS;
  return Math.min(Math.max(retryAfterMs, MINUTE_MS), DAY_MS);
}

/**
 * Milliseconds that a timer for `atMs` may run: an hour at most, after which one looks at the clock
 * again. A longer one would sleep through a jump of the clock and a machine's suspension, and one of
 * several weeks fires at once.
 */
export function timerMs(nowMs: number, atMs: number): number {
  return Math.min(Math.max(atMs - nowMs, 0), HOUR_MS);
}
