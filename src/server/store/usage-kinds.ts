import { sha256 } from "../sha256.ts";
import { REQUEST_NAMES, TIME_AT, type Value } from "./usage-columns.ts";

const DAY_MS = 86_400_000;

/** Beyond it all are forgotten and looked up again: clients can name any number of models. */
const MAX_KNOWN = 10_000;

/** A kind that has to be looked up, or added. */
export interface NewKind {
  /** By which it is found in the table. PostgreSQL has no index for texts as long as all its columns together. */
  identity: string;
  /** Of its columns. */
  values: readonly Value[];
}

/**
 * The numbers that the database has given to kinds of requests. They are known for the rest of the day (UTC):
 * with the first request of each day a kind is noted to be still in use, so that those may be removed that
 * have not been for long.
 */
export class UsageKinds {
  /** By the JSON of a kind's values. */
  readonly #ids = new Map<string, number>();
  #day = 0;

  /**
   * @param wall ms since the epoch
   * @param requests their values, one behind the other. If the clock was set back they may be of a later day,
   *   and their kinds are to stay as long as they do
   * @returns the day, as it is stored with each kind that is in use
   */
  begin(wall: number, requests: readonly Value[]): number {
    let latest = wall;
    for (let at = TIME_AT; at < requests.length; at += REQUEST_NAMES.length)
      latest = Math.max(latest, requests[at] as number);
    const day = Math.floor(latest / DAY_MS);
    if (day !== this.#day || this.#ids.size > MAX_KNOWN) this.#ids.clear();
    this.#day = day;
    return day;
  }

  /** @returns its number, or what has to be looked up for it */
  find(values: readonly Value[]): number | NewKind {
    const json = JSON.stringify(values);
    return this.#ids.get(json) ?? { identity: sha256(json).toHex(), values };
  }

  learn({ values }: NewKind, id: number): void {
    this.#ids.set(JSON.stringify(values), id);
  }

  /** What was learned in a transaction that came to nothing does not hold, nor what another server said. */
  forget(): void {
    this.#ids.clear();
  }
}
