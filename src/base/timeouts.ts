import type { Clock, Timer } from "./clock.ts";

/**
 * Limits of one length in time, such as each request has, nearly all of which are taken back before they
 * are reached. What was added first is due first, so that one timer of the clock stands for all, and is
 * left to run when the last one is taken back: it finds nothing then, and is not set again.
 */
export class Timeouts {
  readonly #clock: Clock;
  readonly #ms: number;
  #first: Timeout | undefined;
  #last: Timeout | undefined;
  /** Is due when the first one is, or before. */
  #timer: Timer | undefined;
  #closed = false;

  /** @param ms from when one is added until it fires */
  constructor(clock: Clock, ms: number) {
    this.#clock = clock;
    this.#ms = ms;
  }

  /** Calls `fire` once when the time is over, unless it is cancelled before. */
  add(fire: () => void): Timer {
    const last = this.#last;
    const added = new Timeout(this, fire, this.#clock.now() + this.#ms, last);
    if (last === undefined) this.#first = added;
    else last.next = added;
    this.#last = added;
    this.#timer ??= this.#clock.after(this.#ms, this.#look);
    return added;
  }

  /** From now on no timer is left once nothing waits. What waits still fires. */
  close(): void {
    this.#closed = true;
    if (this.#first === undefined) this.#stopTimer();
  }

  /** Of what waits here only. */
  remove(timeout: Timeout): void {
    const { previous, next } = timeout;
    // One that is held for long is not to hold all that came after it.
    timeout.previous = timeout.next = undefined;
    if (previous === undefined) this.#first = next;
    else previous.next = next;
    if (next === undefined) this.#last = previous;
    else next.previous = previous;
    if (this.#closed && this.#first === undefined) this.#stopTimer();
  }

  /** Fires what is due. Only then is the timer set again, for whatever waits by then. */
  readonly #look = (): void => {
    try {
      const now = this.#clock.now();
      while (this.#first !== undefined && this.#first.dueAt <= now) this.#first.expire();
    } finally {
      this.#stopTimer();
      const first = this.#first;
      this.#timer = first && this.#clock.after(Math.max(first.dueAt - this.#clock.now(), 1), this.#look);
    }
  };

  #stopTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }
}

class Timeout implements Timer {
  readonly dueAt: number;
  previous: Timeout | undefined;
  next: Timeout | undefined = undefined;
  #fire: (() => void) | undefined;
  /** Where it waits. */
  #timeouts: Timeouts | undefined;

  constructor(timeouts: Timeouts, fire: () => void, dueAt: number, previous: Timeout | undefined) {
    this.#timeouts = timeouts;
    this.#fire = fire;
    this.dueAt = dueAt;
    this.previous = previous;
  }

  cancel(): void {
    this.#timeouts?.remove(this);
    this.#timeouts = undefined;
    this.#fire = undefined;
  }

  expire(): void {
    const fire = this.#fire;
    this.cancel();
    fire?.();
  }
}
