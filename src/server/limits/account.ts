import type { BudgetPeriod, Limits } from "../client.ts";
import type { Budget } from "./budget.ts";
import { Rate } from "./rate.ts";

/** Who a limit is for: one API key, one address that needs none, or all clients together. */
export type SubjectKind = "key" | "address" | "relay";

/** Somebody whose requests count together. */
export interface Subject {
  kind: SubjectKind;
  /** Unique within the kind; there is one relay. */
  id: string;
  limits: Limits;
}

/** Tokens that a request will take. */
export interface Need {
  /** What it is known to take: its prompt, and the longest answer that it asks for. */
  sure: number;
  /** What its answer may take if it does not say; a limit that is smaller is no reason to refuse it. */
  guess: number;
}

export interface Moment {
  /** ms on a clock that never goes backwards. */
  readonly now: number;
  /** ms since the epoch; for budgets, and to tell a date. */
  readonly wall: number;
}

/** Why a request has to wait. */
export interface LimitRefusal {
  kind: SubjectKind;
  limit: "requests" | "tokens" | "concurrency" | "budget";
  /** What the limit allows. */
  allowed: number;
  /** What of it is left, and what the request needs; whole numbers. */
  left: number;
  needed: number;
  period?: BudgetPeriod;
  /** Whole ms until it may come again; `Infinity` if it never may. */
  waitMs: number;
}

/** When a request may come again that had one too many before it: nobody knows when those end. */
const CONCURRENCY_WAIT_MS = 1_000;

/** What a subject has used. */
export class Account {
  readonly kind: SubjectKind;
  /** Requests that have been let in and have not ended. */
  running = 0;
  requests: Rate | undefined;
  tokens: Rate | undefined;
  budget: Budget | undefined;
  #limits: Limits | undefined;

  constructor(kind: SubjectKind) {
    this.kind = kind;
  }

  /** Those that it was given last, if any. */
  get limits(): Limits | undefined {
    return this.#limits;
  }

  /** Takes new limits. What was used of a minute stays used, as a part of it. */
  configure(limits: Limits, newBudget: (tokens: number, period: BudgetPeriod) => Budget): void {
    this.#limits = limits;
    const { requestsPerMinute, tokensPerMinute, budget } = limits;
    this.requests = rateOf(this.requests, requestsPerMinute);
    this.tokens = rateOf(this.tokens, tokensPerMinute);
    if (budget === undefined) this.budget = undefined;
    else if (this.budget?.period === budget.period) this.budget.tokens = budget.tokens;
    else this.budget = newBudget(budget.tokens, budget.period);
  }

  /** Whether a new account would be the same. */
  isBlank(at: Moment): boolean {
    return (
      this.running === 0 &&
      (this.requests?.debt(at.now) ?? 0) === 0 &&
      (this.tokens?.debt(at.now) ?? 0) === 0 &&
      (this.budget === undefined || this.budget.at(at.wall).used === 0)
    );
  }

  /** Why one more request cannot begin. */
  noRequest({ now }: Moment): LimitRefusal | undefined {
    const concurrency = this.#limits?.concurrency;
    if (concurrency !== undefined && this.running >= concurrency)
      return this.#refusal("concurrency", concurrency, 0, 1, CONCURRENCY_WAIT_MS);
    const { requests } = this;
    const waitMs = requests?.waitFor(1, now) ?? 0;
    if (requests === undefined || waitMs === 0) return undefined;
    return this.#refusal("requests", requests.perMinute, requests.left(now), 1, waitMs);
  }

  /** Why so many tokens cannot be used. */
  noTokens(need: Need, at: Moment): LimitRefusal | undefined {
    return longer(this.#noTokensNow(need, at.now), this.#noBudget(need, at));
  }

  #noTokensNow(need: Need, now: number): LimitRefusal | undefined {
    const { tokens } = this;
    if (tokens === undefined) return undefined;
    const amount = within(need, tokens.perMinute);
    const waitMs = tokens.waitFor(amount, now);
    // What takes no tokens may come in spite of a debt.
    if (waitMs === 0 || amount === 0) return undefined;
    return this.#refusal("tokens", tokens.perMinute, tokens.left(now), amount, waitMs);
  }

  #noBudget({ sure }: Need, at: Moment): LimitRefusal | undefined {
    const { budget } = this;
    if (budget === undefined) return undefined;
    const { wall } = at;
    if (sure <= budget.left(wall)) return undefined;
    const waitMs = sure > budget.tokens ? Number.POSITIVE_INFINITY : budget.msToRenewal(wall);
    const refusal = this.#refusal("budget", budget.tokens, budget.left(wall), sure, waitMs);
    return { ...refusal, period: budget.period };
  }

  #refusal(
    limit: LimitRefusal["limit"],
    allowed: number,
    left: number,
    needed: number,
    waitMs: number,
  ): LimitRefusal {
    return { kind: this.kind, limit, allowed, left, needed, waitMs };
  }
}

/** Of two refusals the one that holds longer, as a request has to pass both; the first if they hold as long. */
export function longer(
  one: LimitRefusal | undefined,
  other: LimitRefusal | undefined,
): LimitRefusal | undefined {
  if (one === undefined || other === undefined) return one ?? other;
  return other.waitMs > one.waitMs ? other : one;
}

/** What a limit of `room` makes of a need. */
export function within(need: Need, room: number): number {
  return need.sure + Math.min(need.guess, Math.max(0, room - need.sure));
}

function rateOf(rate: Rate | undefined, perMinute: number | undefined): Rate | undefined {
  if (perMinute === undefined) return undefined;
  if (rate === undefined) return new Rate(perMinute);
  rate.perMinute = perMinute;
  return rate;
}
