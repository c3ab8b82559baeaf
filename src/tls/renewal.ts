import { Problem } from "../base/errors.ts";
import type { CertificateFacts } from "./certificate.ts";
import { nextTryAt, renewalTime, type RenewalInfo, type RenewalWindow } from "./policy.ts";
import type { CertificateState } from "./store/store.ts";

/** What a domain's keeper is to do next. */
export type Step =
  | { kind: "order"; why: "first" | "renewal" | "other authority" }
  /** Ask the CA when the certificate is to be renewed (RFC 9773). */
  | { kind: "ask"; ariId: string }
  /** Nothing before this moment, ms since the epoch. */
  | { kind: "wait"; until: number };

export interface Situation {
  /** Of the certificate in use, expired or not. */
  facts: CertificateFacts | undefined;
  state: CertificateState;
  /** The CA that certificates are to come from. */
  directoryUrl: string;
  /** Milliseconds since the epoch. */
  nowMs: number;
}

/** No wait that is chosen here is longer: a week and a day that a CA asks for, and a minute of chance. */
const LONGEST_WAIT_MS = 9 * 86_400_000;

/** Whether a wait still holds. One that is far too long was written before the clock was set back. */
function holds(until: number | undefined, nowMs: number): until is number {
  return until !== undefined && until > nowMs && until - nowMs <= LONGEST_WAIT_MS;
}

/** Decides what a domain needs; what failed is not tried before its time. */
export function nextStep({ facts, state, directoryUrl, nowMs }: Situation): Step {
  const why = needOf({ facts, state, directoryUrl, nowMs });
  if (why !== undefined) {
    const { nextTryAt: until } = state;
    return holds(until, nowMs) ? { kind: "wait", until } : { kind: "order", why };
  }
  const ariId = facts?.ariId;
  if (ariId !== undefined && !holds(state.ari?.retryAt, nowMs)) return { kind: "ask", ariId };
  const moments = [state.renewAt, ariId === undefined ? undefined : state.ari?.retryAt];
  return { kind: "wait", until: Math.min(...moments.filter((moment) => moment !== undefined)) };
}

function needOf({
  facts,
  state,
  directoryUrl,
  nowMs,
}: Situation): (Step & { kind: "order" })["why"] | undefined {
  if (facts === undefined) return "first";
  // Whoever tried with a staging CA first wants the real one's certificate as soon as it is named.
  if (state.directoryUrl !== undefined && state.directoryUrl !== directoryUrl) return "other authority";
  const renewAt = Math.min(state.renewAt ?? 0, facts.notAfter);
  return renewAt <= nowMs ? "renewal" : undefined;
}

/** However a CA's renewal information reads, a new certificate is left alone for as long as this. */
const LEAST_AGE_MS = 6 * 3_600_000;

/**
 * The moment of renewal, which is never when the certificate is hardly there: a CA that wants each of its
 * certificates replaced at once would otherwise be sent one order after the other.
 */
function chooseRenewal(facts: CertificateFacts, ari: RenewalWindow | undefined, random: number): number {
  const { notBefore, notAfter } = facts;
  const earliest = notBefore + Math.min(LEAST_AGE_MS, (notAfter - notBefore) / 10);
  return Math.max(renewalTime(facts, ari, random), earliest);
}

/**
 * The state as it is for this certificate, with a moment of renewal. What was remembered of one before it
 * does not count: a process that was killed, another one, or a person may have put a new one into the store.
 */
export function stateFor(facts: CertificateFacts, state: CertificateState, random: number): CertificateState {
  if (state.serial === facts.serial && state.renewAt !== undefined) return state;
  return { failures: 0, serial: facts.serial, renewAt: chooseRenewal(facts, undefined, random) };
}

/** Whether a CA still says what it said when it was asked before. */
export function isSameWindow(before: RenewalWindow | undefined, now: RenewalWindow): boolean {
  return before?.start === now.start && before.end === now.end;
}

/** A CA that wants to be asked again at once is given a minute. */
const LEAST_ARI_MS = 60_000;

/**
 * The state once the CA has said when it wants the certificate renewed. A moment that was chosen in the
 * same window stays, so that asking often does not move it.
 *
 * @param random in [0, 1)
 */
export function stateAfterAnswer(
  facts: CertificateFacts,
  state: CertificateState,
  info: RenewalInfo,
  { nowMs, random }: { nowMs: number; random: number },
): CertificateState {
  const { ari: before, ...rest } = state;
  return {
    ...rest,
    ari: {
      ...info,
      checkedAt: nowMs,
      retryAt: Math.min(Math.max(info.retryAt, nowMs + LEAST_ARI_MS), nowMs + LONGEST_WAIT_MS),
    },
    ...(!isSameWindow(before, info) && { renewAt: chooseRenewal(facts, info, random) }),
  };
}

/** A failure that a person has to mend is tried again this often, so that mending it is enough. */
const PERMANENT_RETRY_MS = 3_600_000;

export interface Failure {
  /** Milliseconds since the epoch. */
  nowMs: number;
  /** In [0, 1). */
  random: number;
  /** The CA's own earliest time for another try. */
  retryAtMs: number | undefined;
  /** Trying again cannot help before a person has changed something. */
  permanent: boolean;
  lastError: { message: string; action?: string };
}

/** The state after a try that failed, with the moment of the next one. */
export function stateAfterFailure(
  facts: CertificateFacts | undefined,
  state: CertificateState,
  { nowMs, random, retryAtMs, permanent, lastError }: Failure,
): CertificateState & { nextTryAt: number } {
  const { waitAsked: _, ...rest } = state;
  const failures = state.failures + 1;
  const tryAt = nextTryAt({ nowMs, failures, random, retryAtMs, current: facts });
  return {
    ...rest,
    failures,
    nextTryAt: permanent ? Math.max(tryAt, nowMs + PERMANENT_RETRY_MS) : tryAt,
    ...(retryAtMs !== undefined && { waitAsked: true }),
    lastError: { at: nowMs, ...lastError },
  };
}

/** A certificate that is due as soon as it is there would be ordered again and again without a pause. */
export function dueAtOnce(facts: CertificateFacts | undefined): Problem {
  const until = new Date(facts?.notAfter ?? 0).toISOString();
  return new Problem(
    `Cannot rest on the new certificate: it ends at ${until}, and is to be renewed already`,
    {
      action: "Check this machine's clock; if it is right, have the CA issue certificates for a longer time",
    },
  );
}
