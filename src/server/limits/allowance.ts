import type { Clock } from "../../base/clock.ts";
import type { Dialect } from "../../protocol/dialect.ts";
import type { HeaderFields } from "../../protocol/messages.ts";
import type { ClientError } from "../client-error.ts";
import type { Moment, Need, Subject } from "./account.ts";
import { leastNeed, needOf } from "./estimate.ts";
import { stampLimits } from "./headers.ts";
import { Reservation, type Limiter } from "./limiter.ts";
import { limitError } from "./refusal.ts";

/** What is set aside for a request whose body has not come yet. */
const NO_TOKENS: Need = { sure: 0, guess: 0 };

/** A request that no backend has answered has cost nothing. */
const NO_USE = { prompt: 0, completion: 0 };

/** What limits have to know of a request. */
export interface LimitedRequest {
  readonly method: string;
  readonly path: string;
  /** When it came, on both clocks of a `Moment`. */
  readonly startedAt: number;
  readonly at: number;
  /** What it took; known once it has ended. */
  readonly tokens: { readonly prompt: number; readonly completion: number } | undefined;
}

/** What the limits let one request take: set aside when it comes, corrected when its body is here, settled. */
export class Allowance {
  readonly #limiter: Limiter;
  readonly #clock: Clock;
  readonly #subjects: readonly Subject[];
  readonly #dialect: Dialect;
  /** `undefined` before the request was let in, and once it is settled. */
  #reservation: Reservation | undefined;

  /** @param subjects those whose limits concern the request */
  constructor(limiter: Limiter, clock: Clock, subjects: readonly Subject[], dialect: Dialect) {
    this.#limiter = limiter;
    this.#clock = clock;
    this.#subjects = subjects;
    this.#dialect = dialect;
  }

  /** Lets the request in. @returns why it may not come; it has then taken nothing */
  begin(request: LimitedRequest): ClientError | undefined {
    const arrived = { now: request.startedAt, wall: request.at };
    const least = leastNeed(request.method, request.path);
    const reserved = this.#limiter.reserve(this.#subjects, NO_TOKENS, arrived, least);
    if (!(reserved instanceof Reservation)) return limitError(reserved);
    this.#reservation = reserved;
    return undefined;
  }

  /**
   * Sets aside what the request will need, now that it has been read.
   *
   * @returns why it may not go on; it has then taken nothing
   */
  expect(
    request: LimitedRequest,
    contentType: string,
    body: Uint8Array<ArrayBuffer>,
    longestAnswer: number | null | undefined,
  ): ClientError | undefined {
    if (this.#reservation === undefined) return undefined;
    const need = needOf(request.method, request.path, contentType, body, longestAnswer);
    const refusal = this.#limiter.adjust(this.#reservation, need, this.#moment());
    return refusal && limitError(refusal);
  }

  /** Tells in the fields of the answer how far the limits are used up. */
  stamp(fields: HeaderFields): void {
    const at = this.#moment();
    stampLimits(fields, this.#limiter.standing(this.#subjects, at), this.#dialect, at);
  }

  /** The request runs no longer; `settle` follows. */
  leave(): void {
    if (this.#reservation !== undefined) this.#limiter.leave(this.#reservation);
  }

  /** The request has ended: takes what it has cost, and gives the rest back; once. */
  settle(request: LimitedRequest): void {
    const reservation = this.#reservation;
    if (reservation === undefined) return;
    this.#reservation = undefined;
    const { prompt, completion } = request.tokens ?? NO_USE;
    this.#limiter.settle(reservation, prompt + completion, this.#moment());
  }

  #moment(): Moment {
    return new PresentMoment(this.#clock);
  }
}

/**
 * Asks for the time of day only where it matters: a look at a clock takes 40 ns, and a request has three moments
 * (2026-11).
 */
class PresentMoment implements Moment {
  readonly now: number;
  readonly #clock: Clock;
  #wall: number | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.now = clock.now();
  }

  get wall(): number {
    return (this.#wall ??= this.#clock.wall());
  }
}
