import type { Clock } from "../base/clock.ts";
import type { BodyRecorder } from "./bodies/body-recorder.ts";
import type { Allowance } from "./limits/allowance.ts";
import type { RequestTrace } from "./trace/request-trace.ts";
import type { Client } from "./client.ts";

export const OUTCOMES = ["complete", "refused", "failed", "cancelled"] as const;
/**
 * How a request ended.
 *
 * - `complete`: the backend's whole answer, whatever its status, went to the client
 * - `refused`: the relay answered by itself, as the request was wrong, not allowed, too much, or nobody could serve it
 * - `failed`: worker or backend failed, or broke off
 * - `cancelled`: the client left, or was let go
 */
export type Outcome = (typeof OUTCOMES)[number];

/** Takes the record of each request that has ended. Must not throw. */
export type RecordSink = (record: RequestRecord) => void;

/** Tokens that a request took. */
export interface TokenUse {
  prompt: number;
  completion: number;
  /** Of the prompt's, those that the backend had already. */
  cached: number;
  /** The backend reported none, or not all, and the rest is told from the length of the bodies. */
  estimated: boolean;
}

/** What is known of a request when it arrives. */
export interface Arrival {
  /** A UUID of the relay's own. */
  id: string;
  /** The id in every answer. */
  clientId: string;
  method: string;
  /** Without the query. */
  path: string;
}

/**
 * What the relay knows of one request: filled in while it runs, told once when it has ended. Holds
 * nothing of what was asked or answered, but for `bodies` where they are to be kept, and `answer` until its
 * tokens are counted. Times are ms of the clock that never goes backwards.
 */
export class RequestRecord implements Arrival {
  readonly id: string;
  readonly clientId: string;
  readonly method: string;
  readonly path: string;
  /** ms since the epoch. */
  readonly at: number;
  readonly startedAt: number;
  /** Who sent it, once that is known to be allowed. */
  client: Client | undefined;
  /** As the client named it; empty before it is known, or where none is named. */
  model = "";
  /** As the backend called it, if it did. */
  servedModel: string | undefined;
  streaming = false;
  /** Of the bodies. */
  bytesIn = 0;
  bytesOut = 0;
  /** Known once they have been counted; `undefined` if it took none. */
  tokens: TokenUse | undefined;
  /** Where `tokens` and `servedModel` can be found; the answer's last bytes leave before they are. */
  answer: { countTokens(): void } | undefined;
  /** Name of the worker that had it last. */
  worker: string | undefined;
  /** When it had been read and waited for a worker. */
  queuedAt: number | undefined;
  dispatchedAt: number | undefined;
  firstByteAt: number | undefined;
  /** Parts in which a stream came from the backend, when the first and the last did, and the longest time between two. */
  chunks = 0;
  firstChunkAt = 0;
  lastChunkAt = 0;
  longestGapMs = 0;
  endedAt = 0;
  /** `undefined` where traces are not exported. */
  trace: RequestTrace | undefined;
  /** `undefined` where bodies are not kept. */
  bodies: BodyRecorder | undefined;
  /** What limits let it take; `undefined` where none concerns it. */
  allowance: Allowance | undefined;
  /** Status that the client was given; 499 if it left before it was given one. */
  status = 499;
  outcome: Outcome | undefined;
  /** Why it did not end well, as a stable code; empty for `complete`. */
  reason = "";
  readonly #clock: Clock;
  readonly #told: RecordSink;

  constructor(arrival: Arrival, clock: Clock, told: RecordSink) {
    this.id = arrival.id;
    this.clientId = arrival.clientId;
    this.method = arrival.method;
    this.path = arrival.path;
    this.at = clock.wall();
    this.startedAt = clock.now();
    this.#clock = clock;
    this.#told = told;
  }

  /** A part of the answer's body has come for the client. Called for each token. */
  answered(part: Uint8Array<ArrayBuffer>): void {
    this.bytesOut += part.length;
    this.bodies?.answered(part);
  }

  /** A part of a stream has come. Called for each token. */
  chunkAt(now: number): void {
    if (this.chunks++ === 0) this.firstChunkAt = now;
    else if (now - this.lastChunkAt > this.longestGapMs) this.longestGapMs = now - this.lastChunkAt;
    this.lastChunkAt = now;
  }

  /** In whole ms: until a worker had it once it was read, to the first byte of the answer, and in all. */
  times(): { queueMs: number | undefined; firstByteMs: number | undefined; totalMs: number } {
    const { startedAt, queuedAt = startedAt } = this;
    return {
      queueMs: since(queuedAt, this.dispatchedAt),
      firstByteMs: since(startedAt, this.firstByteAt),
      totalMs: Math.round(this.endedAt - startedAt),
    };
  }

  /** Says how it ends. What was said first holds. */
  settle(outcome: Outcome, reason = ""): void {
    if (this.outcome !== undefined) return;
    this.outcome = outcome;
    this.reason = reason;
  }

  /** Tells those who wait for it; once. */
  end(): void {
    if (this.endedAt !== 0) return;
    this.settle("complete");
    this.endedAt = this.#clock.now();
    this.#told(this);
  }
}

function since(from: number, to: number | undefined): number | undefined {
  return to === undefined ? undefined : Math.round(to - from);
}
