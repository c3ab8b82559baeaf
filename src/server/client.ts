import type { Priority } from "./core/priority.ts";

export { PRIORITIES, type Priority } from "./core/priority.ts";

export const BUDGET_PERIODS = ["day", "month"] as const;
/** A calendar day or month in UTC. */
export type BudgetPeriod = (typeof BUDGET_PERIODS)[number];

/** How much somebody may use; what is absent has no limit. */
export interface Limits {
  requestsPerMinute?: number;
  /** Of prompt and answer together. */
  tokensPerMinute?: number;
  /** Requests at once. */
  concurrency?: number;
  budget?: { tokens: number; period: BudgetPeriod };
}

/** Who sends a request, and what that allows. */
export interface Client {
  /** Shared by all requests that count together: a key's id, or `address:…` where no key is needed. */
  readonly id: string;
  /** The key that was shown; `undefined` where none is needed. */
  readonly key: { readonly id: string; readonly name: string } | undefined;
  /** The models that it may use; `undefined` for all. */
  readonly models: ReadonlySet<string> | undefined;
  readonly priority: Priority;
  readonly limits: Limits;
}
