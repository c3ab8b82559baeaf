import type { Clock } from "../base/clock.ts";

/** Wrong attempts that one address may make at once, and how fast it gets further ones. */
const ATTEMPTS = 10;
const REFILL_MS = 2_000;
/** Addresses remembered; beyond it the one that failed longest ago is forgotten. */
const MAX_ADDRESSES = 10_000;

/**
 * Makes guessing slow: an address has a bucket of attempts that only wrong ones drain and that refills
 * with time, so that nobody is shut out for longer than one refill.
 */
export class AttemptThrottle {
  readonly #clock: Clock;
  /** By network, in order of the last failure: attempts used up, as of a time. */
  readonly #failures = new Map<string, { used: number; at: number }>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Whether nobody has failed of late, so that no address has to wait. */
  get isQuiet(): boolean {
    return this.#failures.size === 0;
  }

  /** @returns seconds until the address may try again; 0 if it may now */
  waitSecs(address: string): number {
    const used = this.#used(networkOf(address), this.#clock.now());
    if (used <= ATTEMPTS - 1) return 0;
    return Math.max(1, Math.ceil(((used - (ATTEMPTS - 1)) * REFILL_MS) / 1_000));
  }

  /** The address has made a wrong attempt. */
  failed(address: string): void {
    const key = networkOf(address);
    const now = this.#clock.now();
    const used = this.#used(key, now);
    this.#failures.delete(key);
    this.#failures.set(key, { used: used + 1, at: now });
    if (this.#failures.size <= MAX_ADDRESSES) return;
    for (const oldest of this.#failures.keys()) {
      this.#failures.delete(oldest);
      return;
    }
  }

  #used(key: string, now: number): number {
    const failure = this.#failures.get(key);
    if (failure === undefined) return 0;
    const used = failure.used - (now - failure.at) / REFILL_MS;
    if (used > 0) return used;
    this.#failures.delete(key);
    return 0;
  }
}

/** An IPv6 host owns its /64, so that is what is counted; IPv4 addresses count one by one. */
export function networkOf(address: string): string {
  if (!address.includes(":") || address.startsWith("::ffff:")) return address;
  const [left = "", right] = address.split("::", 2);
  const head = left.split(":");
  if (right === undefined) return head.slice(0, 4).join(":");
  const tail = right === "" ? [] : right.split(":");
  const zeros = Array<string>(Math.max(0, 8 - head.length - tail.length)).fill("0");
  return [...head, ...zeros, ...tail].slice(0, 4).join(":");
}
