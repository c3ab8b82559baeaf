import type { Clock } from "../../base/clock.ts";
import { errorCode, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { Dialect } from "../../protocol/dialect.ts";
import type { ClientError } from "../client-error.ts";
import { BUDGET_PERIODS, type Client, type Limits } from "../client.ts";
import type { RequestRecord } from "../request-record.ts";
import type { Need, Subject } from "./account.ts";
import { Allowance, momentOf } from "./allowance.ts";
import { periodStart } from "./budget.ts";
import { leastNeed } from "./estimate.ts";
import { stampLimits } from "./headers.ts";
import { Limiter } from "./limiter.ts";
import { limitError } from "./refusal.ts";

/** Limits that belong to no key. */
export interface OwnLimits {
  /** For each address whose requests show no key. */
  anonymous: Limits;
  /** For all requests together. */
  relay: Limits;
}

/** What is set aside for a request whose body has not come yet. */
const NO_TOKENS: Need = { sure: 0, guess: 0 };

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
  readonly #allowances = new Map<RequestRecord, Allowance>();
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

  /** Requests that are under a limit and have not ended. */
  get running(): number {
    return this.#allowances.size;
  }

  /**
   * Lets a request in if the limits allow it, whose answer then tells how far they are used up.
   *
   * @returns what it may take, `undefined` if no limit concerns it; or why it may not come
   */
  enter(client: Client, record: RequestRecord, dialect: Dialect): Allowance | ClientError | undefined {
    const subjects = this.#subjectsOf(client);
    if (subjects === undefined) return undefined;
    record.stampAnswer = this.#stampOf(subjects, dialect);
    const least = leastNeed(record.method, record.path);
    const arrived = { now: record.startedAt, wall: record.at };
    const reserved = this.#limiter.reserve(subjects, NO_TOKENS, arrived, least);
    if ("waitMs" in reserved) return limitError(reserved);
    const allowance = new Allowance(this.#limiter, this.#clock, reserved);
    this.#allowances.set(record, allowance);
    return allowance;
  }

  #stampOf(subjects: readonly Subject[], dialect: Dialect) {
    return (fields: Record<string, string>): void => {
      const at = momentOf(this.#clock);
      stampLimits(fields, this.#limiter.standing(subjects, at), dialect, at.wall);
    };
  }

  /** A request runs no longer: another may come in its place. `ended` follows. */
  left(record: RequestRecord): void {
    this.#allowances.get(record)?.leave();
  }

  /** A request has ended, however: what it set aside is settled. */
  readonly ended = (record: RequestRecord): void => {
    const allowance = this.#allowances.get(record);
    if (allowance === undefined) return;
    this.#allowances.delete(record);
    allowance.settle(record);
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
