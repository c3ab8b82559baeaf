import { timingSafeEqual } from "node:crypto";
import { sha256, SHA256_BYTES } from "../sha256.ts";
import { prefixOf, secretHasher } from "./secrets.ts";

/** What is kept of a secret instead of itself. */
interface Hashed {
  readonly id: string;
  readonly prefix: string;
  /** In hexadecimal. */
  readonly hash: string;
}

interface Entry<R> {
  record: R;
  readonly hash: Buffer;
  /** SHA-256 of the secret, once somebody has shown it. */
  digest: Uint8Array | undefined;
}

/** Where the digest of what is shown is written; good until the next look. */
const shownDigest = new Uint8Array(SHA256_BYTES);

/**
 * Finds what belongs to a secret that somebody shows. Whether it is right is decided by the hash that is
 * kept of it, which is keyed: a copy of the table is not to say anything. Keyed hashing makes an object of
 * the runtime's each time, for which nearly every request would pay; so of a secret that was right the plain
 * SHA-256 is kept in memory, and the next look takes half of the time. From it nobody gets back to a secret
 * of 256 random bits, and whatever has the same SHA-256 is the same secret.
 */
export class SecretIndex<R extends Hashed> {
  #hash: ((secret: string) => Buffer) | undefined;
  /** In the order in which they were made. */
  #byId = new Map<string, Entry<R>>();
  /** Two secrets can begin alike. */
  #byPrefix = new Map<string, Entry<R>[]>();

  /** Takes the place of all that it held. @param hashSecret with which the records were hashed */
  replaceAll(hashSecret: Uint8Array, records: readonly R[]): void {
    this.#hash = secretHasher(hashSecret);
    this.#byId = new Map();
    this.#byPrefix = new Map();
    for (const record of records) this.set(record);
  }

  /** Adds a record, or takes the place of the one with its id. The hash of an id never changes. */
  set(record: R): void {
    const known = this.#byId.get(record.id);
    if (known !== undefined) {
      known.record = record;
      return;
    }
    const entry = { record, hash: Buffer.from(record.hash, "hex"), digest: undefined };
    this.#byId.set(record.id, entry);
    const alike = this.#byPrefix.get(record.prefix);
    if (alike === undefined) this.#byPrefix.set(record.prefix, [entry]);
    else alike.push(entry);
  }

  get(id: string): R | undefined {
    return this.#byId.get(id)?.record;
  }

  *values(): Generator<R> {
    for (const { record } of this.#byId.values()) yield record;
  }

  /** Compares in constant time with those that begin alike. */
  find(secret: string): R | undefined {
    const alike = this.#byPrefix.get(prefixOf(secret));
    if (alike === undefined || this.#hash === undefined) return undefined;
    sha256(secret, shownDigest);
    for (const { record, digest } of alike)
      if (digest !== undefined && timingSafeEqual(digest, shownDigest)) return record;
    const hash = this.#hash(secret);
    for (const entry of alike) {
      if (entry.hash.length !== hash.length || !timingSafeEqual(entry.hash, hash)) continue;
      entry.digest = shownDigest.slice();
      return entry.record;
    }
    return undefined;
  }
}
