import { backoffMs, type BackoffPolicy } from "../base/backoff.ts";
import { formatDuration } from "../base/duration.ts";
import { unreachable } from "../base/errors.ts";
import { CLOSE } from "../protocol/limits.ts";

/**
 * When the worker dials, waits, drains and leaves, as pure decisions: no socket, no timer, no clock. One of
 * these for each link: a worker has a second one while its relay is being replaced.
 *
 * ```
 * dialing ── registered ──► ready ── lost ──► waiting ── waited ──► dialing
 *    └───── failed ──► waiting                 ready ── drain ──► draining ──► closed, or waiting
 * ```
 */

/** Why a dial did not end in a registered link. */
export type DialFailure =
  /** `how` the relay said so: `HTTP 401`, or a close code for one that lets everybody connect first. */
  | { kind: "unauthorised"; how: string }
  | { kind: "throttled"; retryAfterMs: number }
  /** Another HTTP status than 101. */
  | { kind: "status"; status: number }
  | { kind: "unreachable"; detail: string }
  /** The relay's certificate is refused, or there is no TLS where it should be. */
  | { kind: "untrusted"; detail: string; action: string }
  /** The connection was there, but no handshake or no acknowledgement came in time. */
  | { kind: "silent" }
  /** The relay ended the link before it had acknowledged the registration. */
  | { kind: "closed"; code: number; reason: string };

/**
 * `leave`: this worker is to end. `redial`: the relay restarts. `move`: the relay's address belongs to
 * another process, and what comes over this link is served until the relay ends it.
 */
export type DrainPurpose = "leave" | "redial" | "move";

export type ConnectionState =
  | { kind: "dialing"; failures: number; told: string | undefined }
  | { kind: "ready"; failures: number; since: number }
  | { kind: "waiting"; failures: number; told: string | undefined }
  | { kind: "draining"; failures: number; since: number; purpose: DrainPurpose }
  | { kind: "closed"; code: number };

export type ConnectionEvent =
  | { kind: "registered" }
  | { kind: "failed"; failure: DialFailure }
  | { kind: "lost"; code: number; reason: string }
  /** The wait that was asked for is over. */
  | { kind: "waited" }
  | { kind: "drain"; purpose: DrainPurpose }
  /** No request is running any more. */
  | { kind: "drained" }
  | { kind: "stop" };

export type ConnectionEffect =
  | { kind: "dial" }
  | { kind: "wait"; ms: number }
  | { kind: "say"; level: "info" | "warn" | "error" | "debug"; message: string; action?: string }
  /** Take nothing new; `drained` is expected once the last request has ended. */
  | { kind: "drainJobs" }
  /** Dial the relay's address over another link. */
  | { kind: "moveOn" }
  | { kind: "closeLink"; code: number; reason: string }
  | { kind: "finish"; code: number };

const POLICY: BackoffPolicy = { baseMs: 500, capMs: 30_000 };
/** A link that lived this long was good, and the next loss starts over with short waits. */
const STABLE_MS = 60_000;
/** A refused secret or version does not mend itself: 30 to 60 s between attempts. */
const SLOW_MS = 30_000;

type Step = [ConnectionState, ConnectionEffect[]];

export function startConnection(): Step {
  return [{ kind: "dialing", failures: 0, told: undefined }, [{ kind: "dial" }]];
}

/**
 * The next state and what to do about it. An event that does not fit the state changes nothing.
 *
 * @param now monotonic ms
 * @param random in [0, 1)
 */
export function stepConnection(
  state: ConnectionState,
  event: ConnectionEvent,
  now: number,
  random: () => number,
): Step {
  switch (event.kind) {
    case "registered":
      if (state.kind !== "dialing") return [state, []];
      return [{ kind: "ready", failures: state.failures, since: now }, []];
    case "failed":
      return state.kind === "dialing" ? afterFailure(state, event.failure, random) : [state, []];
    case "lost":
      return afterLoss(state, event, now, random);
    case "waited":
      if (state.kind !== "waiting") return [state, []];
      return [{ kind: "dialing", failures: state.failures, told: state.told }, [{ kind: "dial" }]];
    case "drain":
      return afterDrain(state, event.purpose);
    case "drained":
      if (state.kind !== "draining" || state.purpose === "move") return [state, []];
      return [state, [{ kind: "closeLink", code: CLOSE.normal, reason: "drained" }]];
    case "stop":
      if (state.kind === "closed") return [state, []];
      return finish(1, [{ kind: "closeLink", code: CLOSE.normal, reason: "stopped" }]);
    default:
      return unreachable(event);
  }
}

function finish(code: number, before: ConnectionEffect[] = []): Step {
  return [{ kind: "closed", code }, [...before, { kind: "finish", code }]];
}

function afterFailure(
  state: { failures: number; told: string | undefined },
  failure: DialFailure,
  random: () => number,
): Step {
  const failures = state.failures + 1;
  const ms = retryDelayMs(failure, failures, random);
  const { message, action } = describeFailure(failure);
  // Said once; the same again only for whoever debugs.
  const level = state.told === message ? "debug" : isPermanent(failure) ? "error" : "warn";
  return [
    { kind: "waiting", failures, told: message },
    [
      {
        kind: "say",
        level,
        message: `${message}; trying again ${isPermanent(failure) ? "every 30 to 60 s" : `in ${formatDuration(ms)}, and on`}`,
        action,
      },
      { kind: "wait", ms },
    ],
  ];
}

function afterLoss(
  state: ConnectionState,
  event: { code: number; reason: string },
  now: number,
  random: () => number,
): Step {
  if (state.kind === "draining" && state.purpose !== "redial") return finish(0);
  if (state.kind !== "ready" && state.kind !== "draining") return [state, []];
  const failures = (now - state.since >= STABLE_MS ? 0 : state.failures) + 1;
  const ms = backoffMs(failures, POLICY, random);
  const why = event.reason === "" ? `code ${event.code}` : `code ${event.code}, ${event.reason}`;
  const message =
    state.kind === "draining"
      ? `The relay is restarting; connecting again in ${formatDuration(ms)}`
      : `Lost the link to the relay (${why}); connecting again in ${formatDuration(ms)}`;
  const level = state.kind === "draining" ? "info" : "warn";
  return [
    { kind: "waiting", failures, told: undefined },
    [
      { kind: "say", level, message },
      { kind: "wait", ms },
    ],
  ];
}

function afterDrain(state: ConnectionState, purpose: DrainPurpose): Step {
  switch (state.kind) {
    case "dialing":
      return purpose === "leave"
        ? finish(0, [{ kind: "closeLink", code: CLOSE.normal, reason: "leaving" }])
        : [state, []];
    case "waiting":
      return purpose === "leave" ? finish(0) : [state, []];
    case "ready":
      return [
        { kind: "draining", failures: state.failures, since: state.since, purpose },
        [{ kind: purpose === "move" ? "moveOn" : "drainJobs" }],
      ];
    case "draining":
      // Leaving for good wins over coming back.
      return purpose === "leave" ? [{ ...state, purpose }, [{ kind: "drainJobs" }]] : [state, []];
    case "closed":
      return [state, []];
    default:
      return unreachable(state);
  }
}

/** Whether only a person can mend it, so that hurrying helps nobody. */
function isPermanent(failure: DialFailure): boolean {
  return failure.kind === "unauthorised" || (failure.kind === "closed" && failure.code === CLOSE.version);
}

/**
 * Milliseconds until the next dial: full jitter, except that a `Retry-After` is a lower bound
 * (RFC 9110 §10.2.3) and what cannot mend itself waits 30 to 60 s.
 */
function retryDelayMs(failure: DialFailure, failures: number, random: () => number): number {
  if (isPermanent(failure)) return SLOW_MS + random() * SLOW_MS;
  const ms = backoffMs(failures, POLICY, random);
  return failure.kind === "throttled" ? failure.retryAfterMs + ms : ms;
}

/** What went wrong and what to do about it, for people. */
export function describeFailure(failure: DialFailure): { message: string; action: string } {
  switch (failure.kind) {
    case "unauthorised":
      return {
        message: `The relay refused the worker secret (${failure.how})`,
        action: "Start the worker with the secret that the relay was started with (--worker-secret)",
      };
    case "throttled":
      return {
        message: "The relay asks to wait, since too many attempts with a wrong secret came from this address",
        action: "Check --worker-secret here and on other machines behind the same address",
      };
    case "status":
      return describeStatus(failure.status);
    case "unreachable":
      return {
        message: `Cannot reach the relay: ${failure.detail}`,
        action: "Check that the relay runs and that --proxy-url names its address",
      };
    case "untrusted":
      return { message: `Cannot trust the relay: ${failure.detail}`, action: failure.action };
    case "silent":
      return {
        message: "Cannot register with the relay: no answer within 10 s",
        action:
          "Check that --proxy-url names a modelrelay relay and that nothing in between holds WebSockets back",
      };
    case "closed":
      if (failure.code === CLOSE.version) {
        return {
          message: `The relay speaks no protocol version of this worker${failure.reason === "" ? "" : `: ${failure.reason}`}`,
          action: "Bring the relay and the worker to the same version of modelrelay",
        };
      }
      return {
        message: `The relay ended the link before the registration (code ${failure.code}${failure.reason === "" ? "" : `, ${failure.reason}`})`,
        action: "Look into the relay's log for the reason",
      };
    default:
      return unreachable(failure);
  }
}

function describeStatus(status: number): { message: string; action: string } {
  if (status === 404 || status === 405) {
    return {
      message: `Cannot connect to the relay: HTTP ${status}`,
      action:
        "Check --proxy-url: this is not a modelrelay relay, or a proxy in between does not pass /v1/worker/connect on",
    };
  }
  if (status >= 500) {
    return {
      message: `Cannot connect to the relay: HTTP ${status}`,
      action: "The relay behind this address is down or restarting; the worker keeps trying",
    };
  }
  return {
    message: `Cannot connect to the relay: HTTP ${status}`,
    action:
      "A proxy in between may not pass WebSocket upgrades on (it must forward Upgrade and Connection); check --proxy-url",
  };
}
