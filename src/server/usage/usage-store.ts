import type { Outcome } from "../request-record.ts";

/** What is kept of one request. Times in ms. */
export interface UsageRow {
  /** The relay's own id of the request, a UUID: the same row written twice counts once. */
  id: string;
  /** When it came, since the epoch. */
  at: number;
  /** `undefined` where no key was needed. */
  keyId: string | undefined;
  keyName: string | undefined;
  /** As it was asked for, and as the backend called it; `undefined` if the backend did not say. */
  model: string;
  servedModel: string | undefined;
  worker: string | undefined;
  path: string;
  status: number;
  outcome: Outcome;
  reason: string;
  queueMs: number | undefined;
  firstByteMs: number | undefined;
  totalMs: number;
  promptTokens: number;
  completionTokens: number;
  /** Of the prompt's, those that the backend had already. */
  cachedTokens: number;
  /** The backend reported none: the numbers are estimates. */
  estimated: boolean;
  bytesIn: number;
  bytesOut: number;
}

export const USAGE_GROUPS = ["key", "model", "worker", "day"] as const;
export type UsageGroup = (typeof USAGE_GROUPS)[number];

/** The sum over one group. */
export interface UsageSum {
  /** The key's name, the model, the worker, or the day as `2026-11-21` (UTC). */
  group: string;
  requests: number;
  failed: number;
  promptTokens: number;
  completionTokens: number;
  cachedTokens: number;
  bytesIn: number;
  bytesOut: number;
}

export interface RequestFilter {
  keyId?: string;
  model?: string;
  worker?: string;
  outcome?: Outcome;
  /** Only what came before; for the next page. */
  before?: number;
  limit: number;
}

/** Where usage is kept. Each call is one transaction; it rejects with a `StoreError` if the database cannot be reached in time. */
export interface UsageStore {
  /** Rows that are there already, by their id, are left as they are. */
  insertUsage(rows: readonly UsageRow[]): Promise<void>;
  /** @param since ms since the epoch */
  sumUsage(by: UsageGroup, since: number, until?: number): Promise<UsageSum[]>;
  /** Newest first. */
  recentRequests(filter: RequestFilter): Promise<UsageRow[]>;
  findRequest(id: string): Promise<UsageRow | undefined>;
  /** Prompt and completion tokens of each key since then, by the key's id. */
  tokensByKey(since: number): Promise<Map<string, number>>;
  /** Removes at most `limit` rows that came before. @returns how many */
  removeUsage(before: number, limit: number): Promise<number>;
}
