import type { BudgetPeriod } from "../client.ts";

/** What one calendar period has cost so far. */
export interface Span {
  /** ms since the epoch, as `end`, with which the next one starts. */
  readonly start: number;
  readonly end: number;
  /** Of requests that have ended. */
  used: number;
  /** Set aside for requests that run. */
  held: number;
}

/** Tokens per calendar day or month in UTC, which only the next one renews. */
export class Budget {
  tokens: number;
  readonly period: BudgetPeriod;
  /** The one in use, and the one before it: a clock that is set back over midnight finds that again. */
  #span: Span | undefined;
  #spanBefore: Span | undefined;
  readonly #usedBefore: (start: number) => number;

  /** @param usedBefore what is known to have been used in the period that starts then */
  constructor(tokens: number, period: BudgetPeriod, usedBefore: (start: number) => number) {
    this.tokens = tokens;
    this.period = period;
    this.#usedBefore = usedBefore;
  }

  /** The period of this time; what is held is given back to the one from which it was taken. */
  at(wall: number): Span {
    const span = this.#span;
    return span !== undefined && span.start <= wall && wall < span.end ? span : this.#other(wall);
  }

  /** The period of this time, which is not the one in use. */
  #other(wall: number): Span {
    const start = periodStart(this.period, wall);
    const before = this.#spanBefore;
    const span =
      before?.start === start
        ? before
        : { start, end: periodEnd(this.period, wall), used: this.#usedBefore(start), held: 0 };
    this.#spanBefore = this.#span;
    this.#span = span;
    return span;
  }

  left(wall: number): number {
    const { used, held } = this.at(wall);
    return Math.max(0, this.tokens - used - held);
  }

  msToRenewal(wall: number): number {
    return Math.ceil(this.at(wall).end - wall);
  }

  /** Takes a count from elsewhere that knows of more. Can be told again and again. */
  learn(start: number, used: number): void {
    for (const span of [this.#span, this.#spanBefore])
      if (span?.start === start) span.used = Math.max(span.used, used);
  }
}

/** ms since the epoch at which the period of a time began. */
export function periodStart(period: BudgetPeriod, wall: number): number {
  const date = new Date(wall);
  return Date.UTC(date.getUTCFullYear(), date.getUTCMonth(), period === "day" ? date.getUTCDate() : 1);
}

/** ms since the epoch at which the next one begins. */
function periodEnd(period: BudgetPeriod, wall: number): number {
  const date = new Date(wall);
  const [year, month] = [date.getUTCFullYear(), date.getUTCMonth()];
  return period === "day" ? Date.UTC(year, month, date.getUTCDate() + 1) : Date.UTC(year, month + 1);
}
