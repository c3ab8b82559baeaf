import { within, type Account, type Moment, type Need } from "./account.ts";
import type { Span } from "./budget.ts";
import type { Rate, Taking } from "./rate.ts";

/** What one request has taken from one account. */
export class Charge {
  readonly account: Account;
  // Each beside what it was taken from, which the account may have exchanged since. No objects are made for
  // the pairs: every request has some of these.
  #requests: Rate | undefined;
  #request: Taking | undefined;
  #tokens: Rate | undefined;
  #taking: Taking | undefined;
  #amount = 0;
  #span: Span | undefined;
  #held = 0;
  #runs = false;

  constructor(account: Account) {
    this.account = account;
  }

  /** The request begins. */
  begin({ now }: Moment): void {
    const { account } = this;
    account.running++;
    this.#runs = true;
    this.#requests = account.requests;
    this.#request = account.requests?.take(1, now);
  }

  /** Sets tokens aside; those that were have been given back. */
  setAside(need: Need, at: Moment): void {
    const { tokens, budget } = this.account;
    if (tokens !== undefined) {
      const amount = within(need, tokens.perMinute);
      if (amount > 0) {
        this.#tokens = tokens;
        this.#taking = tokens.take(amount, at.now);
        this.#amount = amount;
      }
    }
    if (budget === undefined) return;
    this.#held = within(need, budget.left(at.wall));
    // Kept even if nothing is held: the request counts for the period in which it began.
    this.#span = budget.at(at.wall);
    this.#span.held += this.#held;
  }

  giveBackTokens(): void {
    if (this.#taking !== undefined) this.#tokens?.giveBack(this.#taking, 1);
    if (this.#span !== undefined) this.#span.held -= this.#held;
    this.#tokens = undefined;
    this.#taking = undefined;
    this.#amount = 0;
    this.#span = undefined;
    this.#held = 0;
  }

  /** The request runs no longer; what it took is settled later. */
  leave(): void {
    if (this.#runs) this.account.running--;
    this.#runs = false;
  }

  /** As if the request had not come. */
  undo(): void {
    this.giveBackTokens();
    if (this.#request !== undefined) this.#requests?.giveBack(this.#request, 1);
    this.leave();
  }

  /** The request has ended, and took so many tokens. */
  settle(tokens: number, at: Moment): void {
    const { account } = this;
    if (this.#span !== undefined) this.#span.held -= this.#held;
    const span = this.#span ?? account.budget?.at(at.wall);
    if (span !== undefined) span.used += tokens;
    const rate = this.#tokens ?? account.tokens;
    const amount = this.#amount;
    if (tokens > amount) rate?.take(tokens - amount, at.now);
    else if (this.#taking !== undefined && tokens < amount)
      rate?.giveBack(this.#taking, (amount - tokens) / amount);
    this.leave();
  }
}
