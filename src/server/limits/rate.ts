/** Over which an allowance is written down, in ms. */
const MINUTE = 60_000;

/** ms by which sums of fractions may be wrong. */
const EPSILON = 1e-6;

/**
 * Takings that are remembered for giving back. Beyond it the oldest two are made one, which can only make
 * less come back.
 */
const MAX_LOWS = 64;

/** What was taken from a rate, to give some of it back by. */
export interface Taking {
  readonly order: number;
  /** In ms of the rate's time. */
  readonly ms: number;
}

/**
 * An allowance per minute that refills all the time, and holds a minute's worth: the generic cell rate
 * algorithm. All there is to know is when it will be full again; what is missing until then is its debt,
 * in ms. So at most `perMinute * (1 + minutes)` are taken in any time, and how long to wait is exact.
 *
 * What was taken as an estimate can be given back in part. The state is then what it would have been had
 * only the rest been taken: a debt that has meanwhile been worn off by time does not come back as credit.
 * To know how much of a taking time has not worn off, the lowest debt since then is kept.
 */
export class Rate {
  #perMinute = 0;
  /** ms in which one comes back. */
  #msEach = 0;
  #fullAt = Number.NEGATIVE_INFINITY;
  #order = 0;
  /** The last taking before which it was full: time has worn off all that was taken before that one. */
  #fullBefore = 0;
  /**
   * Debts just before the takings since then, each lower than all after it; so the first after a taking is
   * the lowest since. Where a limit is far away there are none.
   * Beside them which takings those were: two lists of numbers take a quarter of the time of one of objects.
   */
  readonly #debts: number[] = [];
  readonly #orders: number[] = [];

  constructor(perMinute: number) {
    this.perMinute = perMinute;
  }

  get perMinute(): number {
    return this.#perMinute;
  }

  set perMinute(perMinute: number) {
    this.#perMinute = perMinute;
    this.#msEach = MINUTE / perMinute;
  }

  /** ms until it is full again. */
  debt(now: number): number {
    return Math.max(0, this.#fullAt - now);
  }

  /** How much can be taken now; a whole number. */
  left(now: number): number {
    const ms = MINUTE - this.debt(now);
    return ms <= 0 ? 0 : Math.floor((ms + EPSILON) / this.#msEach);
  }

  /** Whole ms until so much can be taken; `Infinity` if it never can. */
  waitFor(amount: number, now: number): number {
    if (amount > this.#perMinute) return Number.POSITIVE_INFINITY;
    const over = this.debt(now) + amount * this.#msEach - MINUTE;
    return Math.max(0, Math.ceil(over - EPSILON));
  }

  /** Takes it, whether or not it is there: who must not go into debt has asked before. */
  take(amount: number, now: number): Taking {
    const debt = this.debt(now);
    const ms = amount * this.#msEach;
    this.#fullAt = now + debt + ms;
    this.#note(debt);
    return { order: this.#order, ms };
  }

  /** Gives back a part of what was taken: 1 is all of it. */
  giveBack(taken: Taking, part: number): void {
    if (taken.order < this.#fullBefore) return;
    const debts = this.#debts;
    const first = this.#firstAfter(taken.order);
    const ms = first === debts.length ? taken.ms * part : Math.min(taken.ms * part, debts[first]!);
    if (ms === 0) return;
    this.#fullAt -= ms;
    if (first === debts.length) return;
    for (let n = first; n < debts.length; n++) debts[n]! -= ms;
    let kept = first;
    while (kept > 0 && debts[kept - 1]! >= debts[first]!) kept--;
    if (kept === first) return;
    debts.splice(kept, first - kept);
    this.#orders.splice(kept, first - kept);
  }

  /** Index of the first low that was noted after a taking; that of none if there is none. */
  #firstAfter(order: number): number {
    let from = 0;
    let to = this.#orders.length;
    while (from < to) {
      const middle = (from + to) >> 1;
      if (this.#orders[middle]! > order) to = middle;
      else from = middle + 1;
    }
    return from;
  }

  #note(debt: number): void {
    const debts = this.#debts;
    const orders = this.#orders;
    const order = ++this.#order;
    if (debt === 0) {
      this.#fullBefore = order;
      if (debts.length > 0) debts.length = orders.length = 0;
      return;
    }
    while (debts.length > 0 && debts[debts.length - 1]! >= debt) {
      debts.pop();
      orders.pop();
    }
    debts.push(debt);
    orders.push(order);
    if (debts.length <= MAX_LOWS) return;
    // The lower debt of the two, and the later taking.
    debts.splice(1, 1);
    orders.shift();
  }
}
