import { createHash, timingSafeEqual } from "node:crypto";
import type { Clock } from "../base/clock.ts";

/** Wrong secrets that one address may present at once, and how fast it gets further attempts. */
const ATTEMPTS = 10;
const REFILL_MS = 2_000;
/** Addresses remembered; beyond it the one that failed longest ago is forgotten. */
const MAX_ADDRESSES = 10_000;

export type Admission =
  /** `credential` stands for the secret, and tells nothing of it. */
  | { kind: "admitted"; credential: string }
  | { kind: "wrong_secret" }
  | { kind: "throttled"; retryAfterSecs: number };

/**
 * Decides who may connect as a worker. Guessing is slow: an address has a bucket of attempts that only
 * wrong ones drain and that refills with time, so the right secret is never shut out for longer than
 * one refill.
 */
export class WorkerAdmission {
  readonly #digest: Buffer;
  readonly #credential: string;
  readonly #clock: Clock;
  /** By address, in order of the last failure: attempts used up, as of a time. */
  readonly #failures = new Map<string, { used: number; at: number }>();

  constructor(secret: string, clock: Clock) {
    this.#digest = digest(secret);
    this.#credential = this.#digest.toString("base64url");
    this.#clock = clock;
  }

  admit(address: string, presented: string | undefined): Admission {
    const key = networkOf(address);
    const now = this.#clock.now();
    const used = this.#used(key, now);
    if (used > ATTEMPTS - 1) {
      const waitMs = (used - (ATTEMPTS - 1)) * REFILL_MS;
      return { kind: "throttled", retryAfterSecs: Math.max(1, Math.ceil(waitMs / 1_000)) };
    }
    if (presented !== undefined && this.isSecret(presented))
      return { kind: "admitted", credential: this.#credential };
    this.#failures.delete(key);
    this.#failures.set(key, { used: used + 1, at: now });
    if (this.#failures.size > MAX_ADDRESSES) {
      for (const oldest of this.#failures.keys()) {
        this.#failures.delete(oldest);
        break;
      }
    }
    return { kind: "wrong_secret" };
  }

  /** Compares in constant time: digests have one length, whatever was presented. */
  isSecret(presented: string): boolean {
    return timingSafeEqual(digest(presented), this.#digest);
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

function digest(secret: string): Buffer {
  return createHash("sha256").update(secret).digest();
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
