import { timingSafeEqual } from "node:crypto";
import { prefixOf, secretHasher } from "./secrets.ts";

/** What is kept of a secret instead of itself. */
interface Hashed {
  readonly id: string;
  readonly prefix: string;
  /** In hexadecimal. */
  readonly hash: string;
}

/**
 * Finds what belongs to a secret that somebody shows. It is hashed for each look (0.3 µs), since a
 * memory of secrets seen before would have to hash them as well.
 */
export class SecretIndex<R extends Hashed> {
  #hash: ((secret: string) => Buffer) | undefined;
  /** In the order in which they were made. */
  #byId = new Map<string, R>();
  /** Two secrets can begin alike. */
  #byPrefix = new Map<string, { id: string; hash: Buffer }[]>();

  /** Takes the place of all that it held. @param hashSecret with which the records were hashed */
  replaceAll(hashSecret: Uint8Array, records: readonly R[]): void {
    this.#hash = secretHasher(hashSecret);
    this.#byId = new Map();
    this.#byPrefix = new Map();
    for (const record of records) this.set(record);
  }

  /** Adds a record, or takes the place of the one with its id. The hash of an id never changes. */
  set(record: R): void {
    const isNew = !this.#byId.has(record.id);
    this.#byId.set(record.id, record);
    if (!isNew) return;
    const entry = { id: record.id, hash: Buffer.from(record.hash, "hex") };
    const alike = this.#byPrefix.get(record.prefix);
    if (alike === undefined) this.#byPrefix.set(record.prefix, [entry]);
    else alike.push(entry);
  }

  get(id: string): R | undefined {
    return this.#byId.get(id);
  }

  values(): IterableIterator<R> {
    return this.#byId.values();
  }

  /** Compares in constant time with those that begin alike. */
  find(secret: string): R | undefined {
    const alike = this.#byPrefix.get(prefixOf(secret));
    if (alike === undefined || this.#hash === undefined) return undefined;
    const shown = this.#hash(secret);
    for (const { id, hash } of alike)
      if (hash.length === shown.length && timingSafeEqual(hash, shown)) return this.#byId.get(id);
    return undefined;
  }
}
