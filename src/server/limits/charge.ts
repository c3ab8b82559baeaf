import { within, type Account, type Moment, type Need } from "./account.ts";
import type { Span } from "./budget.ts";
import type { Rate, Taking } from "./rate.ts";

/** What one request has taken from one account. */
export class Charge {
  readonly account: Account;
  readonly #request: { rate: Rate; taking: Taking } | undefined;
  #tokens: { rate: Rate; taking: Taking; amount: number } | undefined;
  #held: { span: Span; amount: number } | undefined;

  constructor(account: Account, { now }: Moment) {
    this.account = account;
    account.running++;
    const { requests } = account;
    this.#request = requests && { rate: requests, taking: requests.take(1, now) };
  }

  /** Sets tokens aside; those that were have been given back. */
  setAside(need: Need, { now, wall }: Moment): void {
    const { tokens, budget } = this.account;
    if (tokens !== undefined) {
      const amount = within(need, tokens.perMinute);
      if (amount > 0) this.#tokens = { rate: tokens, taking: tokens.take(amount, now), amount };
    }
    if (budget === undefined) return;
    const amount = within(need, budget.left(wall));
    const span = budget.at(wall);
    span.held += amount;
    // Kept even if it is nothing: the request counts for the period in which it began.
    this.#held = { span, amount };
  }

  giveBackTokens(): void {
    if (this.#tokens !== undefined) this.#tokens.rate.giveBack(this.#tokens.taking, 1);
    if (this.#held !== undefined) this.#held.span.held -= this.#held.amount;
    this.#tokens = undefined;
    this.#held = undefined;
  }

  /** As if the request had not come. */
  undo(): void {
    this.giveBackTokens();
    this.#request?.rate.giveBack(this.#request.taking, 1);
    this.account.running--;
  }

  /** The request has ended, and took so many tokens. */
  settle(tokens: number, { now, wall }: Moment): void {
    const { account } = this;
    if (this.#held !== undefined) this.#held.span.held -= this.#held.amount;
    const span = this.#held?.span ?? account.budget?.at(wall);
    if (span !== undefined) span.used += tokens;
    const { rate = account.tokens, taking, amount = 0 } = this.#tokens ?? {};
    if (tokens > amount) rate?.take(tokens - amount, now);
    else if (taking !== undefined && tokens < amount) rate?.giveBack(taking, (amount - tokens) / amount);
    account.running--;
  }
}
