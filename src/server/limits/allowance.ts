import type { Clock } from "../../base/clock.ts";
import type { ClientError } from "../client-error.ts";
import type { RequestRecord } from "../request-record.ts";
import type { Moment } from "./account.ts";
import { needOf } from "./estimate.ts";
import type { Limiter, Reservation } from "./limiter.ts";
import { limitError } from "./refusal.ts";

/** What the limits let one request take: set aside when it comes, corrected when its body is here, settled. */
export class Allowance {
  readonly #limiter: Limiter;
  readonly #clock: Clock;
  readonly #reservation: Reservation;

  constructor(limiter: Limiter, clock: Clock, reservation: Reservation) {
    this.#limiter = limiter;
    this.#clock = clock;
    this.#reservation = reservation;
  }

  /**
   * Sets aside what the request will need, now that it has been read.
   *
   * @returns why it may not go on; it has then taken nothing
   */
  expect(
    record: RequestRecord,
    contentType: string,
    body: Uint8Array<ArrayBuffer>,
    longestAnswer: number | null | undefined,
  ): ClientError | undefined {
    const need = needOf(record.method, record.path, contentType, body, longestAnswer);
    const refusal = this.#limiter.adjust(this.#reservation, need, momentOf(this.#clock));
    return refusal && limitError(refusal);
  }

  /** The request runs no longer; `settle` follows. */
  leave(): void {
    this.#limiter.leave(this.#reservation);
  }

  /** The request has ended: takes what it has cost, and gives the rest back. */
  settle(record: RequestRecord): void {
    const { prompt, completion } = record.tokens ?? NONE;
    this.#limiter.settle(this.#reservation, prompt + completion, momentOf(this.#clock));
  }
}

/** A request that no backend has answered has cost nothing. */
const NONE = { prompt: 0, completion: 0 };

export function momentOf(clock: Clock): Moment {
  return { now: clock.now(), wall: clock.wall() };
}
