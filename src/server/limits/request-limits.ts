import type { Clock } from "../../base/clock.ts";
import { errorCode, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Dialect } from "../../protocol/dialect.ts";
import type { ClientError } from "../client-error.ts";
import { BUDGET_PERIODS, type Client, type Limits } from "../client.ts";
import type { RequestRecord } from "../request-record.ts";
import type { Subject } from "./account.ts";
import { Allowance } from "./allowance.ts";
import { periodStart } from "./budget.ts";
import { Limiter } from "./limiter.ts";

/** Limits that belong to no key. */
export interface OwnLimits {
  /** For each address whose requests show no key. */
  anonymous: Limits;
  /** For all requests together. */
  relay: Limits;
}

/** Tokens of each key since a time (ms since the epoch), by the key's id. */
export type UsedTokens = (since: number) => Promise<ReadonlyMap<string, number>>;

export interface RequestLimitsOptions {
  clock: Clock;
  log: Log;
  limits: OwnLimits | undefined;
  /** Where what was used before the start, and through other relays, is known; nowhere if absent. */
  usedTokens: UsedTokens | undefined;
}

/** How often it is asked for while there are budgets. */
const LEARN_EVERY_MS = 300_000;
/** The same when a key is given a budget, and after a failure. */
const LEARN_SOON_MS = 10_000;

/** The one place through which requests go that are relayed. Where no limit concerns one it costs nothing. */
export class RequestLimits {
  readonly #limiter = new Limiter(() => this.#learn(LEARN_SOON_MS));
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #usedTokens: UsedTokens | undefined;
  #anonymous: Limits = {};
  #relay: Subject | undefined;
  /** A key's client is the same object until the key is changed. */
  #ofKeys = new WeakMap<Client, readonly Subject[]>();
  /** When what was used of budgets was asked for last, and what is becoming of it. */
  #askedAt = Number.NEGATIVE_INFINITY;
  #asking: "open" | "failed" | undefined;

  constructor({ clock, log, limits, usedTokens }: RequestLimitsOptions) {
    this.#clock = clock;
    this.#log = log;
    this.#usedTokens = usedTokens;
    this.configure(limits);
    this.#learn(0);
  }

  /** Takes other limits; what has been used of them so far stays used. */
  configure(limits: OwnLimits | undefined): void {
    const { anonymous = {}, relay = {} } = limits ?? {};
    this.#anonymous = anonymous;
    this.#ofKeys = new WeakMap();
    this.#relay = hasLimit(relay) ? { kind: "relay", id: "", limits: relay } : undefined;
  }

  /**
   * Lets a request in if the limits allow it. If one concerns it, its record gets an allowance.
   *
   * @returns why it may not come
   */
  enter(client: Client, record: RequestRecord, dialect: Dialect): ClientError | undefined {
    const subjects = this.#subjectsOf(client);
    if (subjects === undefined) return undefined;
    const allowance = new Allowance(this.#limiter, this.#clock, subjects, dialect);
    // One that is refused has one as well, to tell in its answer how far the limits are used up.
    record.allowance = allowance;
    return allowance.begin(record);
  }

  /** A request runs no longer: another may come in its place. `ended` follows. */
  left(record: RequestRecord): void {
    record.allowance?.leave();
  }

  /** A request has ended, however: what it set aside is settled. */
  readonly ended = (record: RequestRecord): void => {
    record.allowance?.settle(record);
  };

  /** Those whose limits concern a client; none if there are none. */
  #subjectsOf(client: Client): readonly Subject[] | undefined {
    const { id, key, limits } = client;
    const own = key === undefined ? this.#anonymous : limits;
    if (own.budget !== undefined) this.#learn(LEARN_EVERY_MS);
    if (key === undefined) return this.#subjects("address", id, own);
    let subjects = this.#ofKeys.get(client);
    if (subjects === undefined) {
      subjects = this.#subjects("key", id, limits) ?? [];
      this.#ofKeys.set(client, subjects);
    }
    return subjects.length === 0 ? undefined : subjects;
  }

  #subjects(kind: "address" | "key", id: string, limits: Limits): readonly Subject[] | undefined {
    const relay = this.#relay;
    if (!hasLimit(limits)) return relay && [relay];
    const subject: Subject = { kind, id, limits };
    return relay === undefined ? [subject] : [subject, relay];
  }

  /** Asks what has been used of budgets, if it was not asked for so long. Requests do not wait for it. */
  #learn(afterMs: number): void {
    if (this.#usedTokens === undefined || this.#asking === "open") return;
    const now = this.#clock.now();
    if (now - this.#askedAt < (this.#asking === "failed" ? LEARN_SOON_MS : afterMs)) return;
    this.#askedAt = now;
    this.#asking = "open";
    void this.#ask(this.#usedTokens);
  }

  async #ask(usedTokens: UsedTokens): Promise<void> {
    try {
      for (const period of BUDGET_PERIODS) {
        const start = periodStart(period, this.#clock.wall());
        this.#limiter.learn(period, start, await usedTokens(start));
      }
      this.#asking = undefined;
    } catch (error) {
      // The relay has ended, or could not begin.
      if (errorCode(error) === "store_closed") return;
      this.#log.warn("What was used of the budgets cannot be read; they count from what is known", {
        reason: messageOf(error),
      });
      this.#asking = "failed";
    }
  }
}

function hasLimit({ requestsPerMinute, tokensPerMinute, concurrency, budget }: Limits): boolean {
  return (
    requestsPerMinute !== undefined ||
    tokensPerMinute !== undefined ||
    concurrency !== undefined ||
    budget !== undefined
  );
}
