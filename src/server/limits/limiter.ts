import type { BudgetPeriod } from "../client.ts";
import { Account, longer, type LimitRefusal, type Moment, type Need, type Subject } from "./account.ts";
import { Budget } from "./budget.ts";
import { Charge } from "./charge.ts";
import type { Rate } from "./rate.ts";

/** Addresses with an account at once. */
export const MAX_ADDRESSES = 10_000;
/** Accounts that are looked at for a blank one whenever a new one is made, so that few blank ones are kept. */
const LOOKED_AT = 2;
/** The same when there is no room for more. */
const LOOKED_AT_WHEN_FULL = 8;

/** How far one kind of limit is used up. */
export interface Mark {
  limit: number;
  remaining: number;
  /** ms until all of it is there again. */
  resetMs: number;
}

/** The limit that is nearest of each kind, where there is one. */
export interface Standing {
  requests: Mark | undefined;
  tokens: Mark | undefined;
}

/** What a request that was let in has taken, until it is settled or undone. */
export class Reservation {
  readonly charges: readonly Charge[];
  #open = true;

  constructor(charges: readonly Charge[]) {
    this.charges = charges;
  }

  /** Tells once that it is open, and closes it. */
  close(): boolean {
    const wasOpen = this.#open;
    this.#open = false;
    return wasOpen;
  }

  get isOpen(): boolean {
    return this.#open;
  }
}

/**
 * Decides whether a request may come, by what it and those before it take: requests and tokens per
 * minute, requests at once, and a budget of tokens per day or month, for several subjects at once. A
 * request takes from all of them or from none.
 *
 * Tokens are set aside as an estimate before a request begins, and settled when it has ended. So a limit
 * on tokens is passed by no more than what the requests that run produce beyond their estimates; the other
 * limits are never passed.
 */
export class Limiter {
  readonly #addresses = new Map<string, Account>();
  readonly #keys = new Map<string, Account>();
  readonly #relay = new Account("relay");
  /** For addresses that find no room. */
  readonly #crowd = new Account("address");
  readonly #known = new Map<BudgetPeriod, { start: number; used: ReadonlyMap<string, number> }>();
  readonly #maxAddresses: number;
  readonly #onBudget: () => void;

  /** @param onBudget called when a subject gets a budget of which is not known what has been used */
  constructor(onBudget: () => void = () => {}, maxAddresses = MAX_ADDRESSES) {
    this.#onBudget = onBudget;
    this.#maxAddresses = maxAddresses;
  }

  /** Accounts that are kept of keys and addresses. */
  get size(): number {
    return this.#addresses.size + this.#keys.size;
  }

  /**
   * Lets a request in, for every subject or for none.
   *
   * @param subjects at most one of each kind
   * @param need tokens that are set aside
   * @param least tokens that have to be there, whether or not they are set aside
   */
  reserve(
    subjects: readonly Subject[],
    need: Need,
    at: Moment,
    least: Need = need,
  ): Reservation | LimitRefusal {
    const charges: Charge[] = [];
    let refusal: LimitRefusal | undefined;
    for (const subject of subjects) {
      const account = this.#accountOf(subject, at);
      if (account.limits !== subject.limits) this.#configure(account, subject);
      charges.push(new Charge(account));
      refusal = longer(longer(refusal, account.noRequest(at)), account.noTokens(least, at));
    }
    if (refusal !== undefined) return refusal;
    for (const charge of charges) {
      charge.begin(at);
      charge.setAside(need, at);
    }
    return new Reservation(charges);
  }

  /** Sets other tokens aside than before, now that more is known. A refusal undoes the reservation. */
  adjust(reservation: Reservation, need: Need, at: Moment): LimitRefusal | undefined {
    if (!reservation.isOpen) return undefined;
    const { charges } = reservation;
    for (const charge of charges) charge.giveBackTokens();
    let refusal: LimitRefusal | undefined;
    for (const { account } of charges) refusal = longer(refusal, account.noTokens(need, at));
    if (refusal === undefined) for (const charge of charges) charge.setAside(need, at);
    else if (reservation.close()) for (const charge of charges) charge.undo();
    return refusal;
  }

  /** The request runs no longer, and another may come in its place; `settle` follows. */
  leave(reservation: Reservation): void {
    for (const charge of reservation.charges) charge.leave();
  }

  /** The request has ended, whatever came of it. Only the first call counts. */
  settle(reservation: Reservation, tokens: number, at: Moment): void {
    if (!reservation.close()) return;
    for (const charge of reservation.charges) charge.settle(tokens, at);
  }

  /** How far the limits of the subjects are used up: those that the request brought which came last. */
  standing(subjects: readonly Subject[], at: Moment): Standing {
    let requests: Mark | undefined;
    let tokens: Mark | undefined;
    for (const subject of subjects) {
      const account = this.#accountOf(subject, at);
      if (account.limits === undefined) this.#configure(account, subject);
      requests = nearerRate(requests, account.requests, at);
      tokens = nearerRate(tokens, account.tokens, at);
      tokens = nearerBudget(tokens, account.budget, at);
    }
    return { requests, tokens };
  }

  /**
   * Takes what is known to have been used of budgets, by the ids of keys, in the period that starts at
   * `start`. Of two counts of the same the larger one holds.
   */
  learn(period: BudgetPeriod, start: number, used: ReadonlyMap<string, number>): void {
    this.#known.set(period, { start, used });
    for (const [id, account] of this.#keys) {
      const { budget } = account;
      if (budget?.period === period) budget.learn(start, used.get(id) ?? 0);
    }
  }

  #accountOf({ id, kind }: Subject, at: Moment): Account {
    return kind === "relay" ? this.#relay : this.#keptAccount(kind, id, at);
  }

  #configure(account: Account, { id, limits }: Subject): void {
    account.configure(limits, (tokens, period) => {
      this.#onBudget();
      return new Budget(tokens, period, (start) => this.#usedBefore(id, period, start));
    });
  }

  #keptAccount(kind: "key" | "address", id: string, at: Moment): Account {
    const accounts = kind === "key" ? this.#keys : this.#addresses;
    const known = accounts.get(id);
    if (known !== undefined) return known;
    // Keys are the operator's, who makes no more of them than are wanted.
    if (!hasRoom(accounts, kind === "key" ? Number.POSITIVE_INFINITY : this.#maxAddresses, at))
      return this.#crowd;
    const account = new Account(kind);
    accounts.set(id, account);
    return account;
  }

  #usedBefore(id: string, period: BudgetPeriod, start: number): number {
    const known = this.#known.get(period);
    return known?.start === start ? (known.used.get(id) ?? 0) : 0;
  }
}

/**
 * Forgets an old account or two that are blank. If there is no room all the same, one in which nothing
 * runs is forgotten with what it has used.
 */
function hasRoom(accounts: Map<string, Account>, room: number, at: Moment): boolean {
  const full = accounts.size >= room;
  let looks = full ? LOOKED_AT_WHEN_FULL : LOOKED_AT;
  for (const [id, account] of accounts) {
    if (looks-- === 0) break;
    // Taken out and put in again it is the youngest, so that each is looked at in its turn.
    accounts.delete(id);
    if (account.isBlank(at)) continue;
    if (accounts.size === room - 1 && account.running === 0) return true;
    accounts.set(id, account);
  }
  return accounts.size < room;
}

/** The mark of which less is left; the other is not even made. */
function nearerRate(mark: Mark | undefined, rate: Rate | undefined, { now }: Moment): Mark | undefined {
  if (rate === undefined) return mark;
  const remaining = rate.left(now);
  if (mark !== undefined && mark.remaining <= remaining) return mark;
  return { limit: rate.perMinute, remaining, resetMs: rate.debt(now) };
}

/** As `nearerRate`, which never needs the time of day. */
function nearerBudget(mark: Mark | undefined, budget: Budget | undefined, at: Moment): Mark | undefined {
  if (budget === undefined) return mark;
  const { wall } = at;
  const remaining = budget.left(wall);
  if (mark !== undefined && mark.remaining <= remaining) return mark;
  return { limit: budget.tokens, remaining, resetMs: budget.msToRenewal(wall) };
}
