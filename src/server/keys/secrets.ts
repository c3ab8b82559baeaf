import { randomBytes } from "node:crypto";

/** How a client's key and a worker's secret begin, so that one that leaked is known for what it is. */
export const KEY_START = "mr_live_";
export const WORKER_SECRET_START = "mr_work_";

const DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_BYTES = 32;
/** Digits that hold 256 bits: 62^43 > 2^256. */
const RANDOM_DIGITS = 43;
/** What is kept in the clear and shown in lists: the start, and 47 of the 256 random bits. */
const PREFIX_LENGTH = KEY_START.length + 8;

/** As `makeSecret` makes them, and as a relay makes its first key, in base64url. */
const OURS = /^mr_(?:live|work)_[\w-]{43}$/;

/** @returns the start and 32 random bytes in base62 */
export function makeSecret(start: typeof KEY_START | typeof WORKER_SECRET_START): string {
  let rest = BigInt(`0x${randomBytes(RANDOM_BYTES).toString("hex")}`);
  let digits = "";
  for (let n = 0; n < RANDOM_DIGITS; n++) {
    digits = DIGITS.charAt(Number(rest % 62n)) + digits;
    rest /= 62n;
  }
  return start + digits;
}

/** Whether a text looks like a key or a secret that a relay made: nobody can guess one of those. */
export function isOfOurMaking(text: string): boolean {
  return OURS.test(text);
}

/** The part of a secret by which it is found. */
export function prefixOf(secret: string): string {
  return secret.slice(0, PREFIX_LENGTH);
}

/**
 * Makes the hash under which a secret is kept: HMAC-SHA256.
 *
 * @param hashSecret the database's; without it a stolen table of hashes says nothing
 */
export function secretHasher(hashSecret: Uint8Array): (secret: string) => Buffer {
  const keyed = new Bun.CryptoHasher("sha256", hashSecret);
  // A copy takes a third of the time that setting the key takes.
  return (secret) => keyed.copy().update(secret).digest();
}
