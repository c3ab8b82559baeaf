import type { Clock } from "../../base/clock.ts";
import type { ClientError } from "../client-error.ts";
import type { RequestRecord } from "../request-record.ts";
import type { Moment } from "./account.ts";
import { answerTokens, needOf } from "./estimate.ts";
import type { Limiter, Reservation } from "./limiter.ts";
import { limitError } from "./refusal.ts";

/** What the limits let one request take: set aside when it comes, corrected when its body is here, settled. */
export class Allowance {
  readonly #limiter: Limiter;
  readonly #clock: Clock;
  readonly #reservation: Reservation;
  #promptTokens = 0;

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
    longestAnswer: number | undefined,
  ): ClientError | undefined {
    const estimate = needOf(record.method, record.path, contentType, body, longestAnswer);
    this.#promptTokens = estimate.prompt;
    const refusal = this.#limiter.adjust(this.#reservation, estimate, momentOf(this.#clock));
    return refusal && limitError(refusal);
  }

  /** The request has ended: takes what it has cost, and gives the rest back. */
  settle(record: RequestRecord): void {
    this.#limiter.settle(this.#reservation, this.#tokensOf(record), momentOf(this.#clock));
  }

  /** What no backend has seen costs nothing; what a client has left in the middle costs what was made. */
  #tokensOf(record: RequestRecord): number {
    const unseen = record.dispatchedAt === undefined;
    if (unseen || (record.outcome !== "complete" && record.firstByteAt === undefined)) return 0;
    return this.#promptTokens + answerTokens(record.bytesOut, record.streaming);
  }
}

export function momentOf(clock: Clock): Moment {
  return { now: clock.now(), wall: clock.wall() };
}
