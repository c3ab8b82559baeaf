import type { Clock } from "../../base/clock.ts";
import { parseDuration } from "../../base/duration.ts";
import { AdminRefusal, type AdminCall, type AdminRoute } from "../admin/admin-desk.ts";
import { flag, invalid, oneOf, quoted, refuseOthers } from "../admin/query.ts";
import { OUTCOMES, type Outcome } from "../request-record.ts";
import type { RequestFeed } from "./request-feed.ts";
import {
  USAGE_GROUPS,
  type RequestFilter,
  type UsageGroup,
  type UsageRow,
  type UsageStore,
  type UsageSum,
} from "./usage-store.ts";

const DEFAULT_SINCE = "30d";
const DEFAULT_PAGE = 100;
const MAX_PAGE = 1_000;
const MAX_FOLLOWERS = 32;

/** One group's sum, and the sum of all, as operators see them. */
export type SumView = Record<
  "requests" | "failed" | "prompt_tokens" | "completion_tokens" | "cached_tokens" | "bytes_in" | "bytes_out",
  number
>;
export interface UsageSumView extends SumView {
  group: string;
}

/** What `GET /admin/usage` answers. */
export interface UsageView {
  by: UsageGroup;
  since: string;
  until: string;
  usage: UsageSumView[];
  total: SumView;
}

export interface UsageRoutesParts {
  store: Pick<UsageStore, "sumUsage" | "recentRequests">;
  /** Absent where no requests are served. */
  feed?: RequestFeed;
  clock: Clock;
}

/** Shows operators what was used. */
export function usageRoutes({ store, feed, clock }: UsageRoutesParts): AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/admin/usage",
      async handle({ query }) {
        refuseOthers(query, ["by", "since", "until"]);
        const by = oneOf(query, "by", USAGE_GROUPS) ?? "key";
        const now = clock.wall();
        const since = timeIn(query, "since", now) ?? now - (parseDuration(DEFAULT_SINCE) ?? 0);
        const until = timeIn(query, "until", now);
        const usage = (await store.sumUsage(by, since, until)).map(sumView);
        const body: UsageView = {
          by,
          since: isoTime(since),
          until: isoTime(until ?? now),
          usage,
          total: totalOf(usage),
        };
        return { status: 200, body };
      },
    },
    {
      method: "GET",
      path: "/admin/requests",
      handle: (call) => (flag(call.query, "follow") ? followed(call, feed) : recent(call, store, clock)),
    },
  ];
}

const FILTERS = ["key_id", "model", "worker", "outcome"] as const;

async function recent(
  { query }: AdminCall,
  store: UsageRoutesParts["store"],
  clock: Clock,
): Promise<{ status: number; body: object }> {
  refuseOthers(query, [...FILTERS, "before", "limit", "follow"]);
  const limit = limitIn(query);
  const before = timeIn(query, "before", clock.wall());
  const rows = await store.recentRequests({
    ...filterIn(query),
    ...(before !== undefined && { before }),
    limit: limit + 1,
  });
  const { page, next } = pageOf(rows, limit);
  return { status: 200, body: { requests: page.map(requestView), before: next } };
}

/** Requests of one ms stay on one page, since the next one is asked for by its time. */
function pageOf(rows: UsageRow[], limit: number): { page: UsageRow[]; next: string | null } {
  const following = rows[limit];
  if (following === undefined) return { page: rows, next: null };
  const earlier = rows.filter(({ at }) => at > following.at);
  return earlier.length > 0
    ? { page: earlier, next: isoTime(following.at + 1) }
    : { page: rows.slice(0, limit), next: isoTime(following.at) };
}

function followed({ query }: AdminCall, feed: RequestFeed | undefined): Response {
  refuseOthers(query, [...FILTERS, "follow"]);
  if (feed === undefined) throw invalid("Cannot follow requests: the relay does not run");
  if (feed.followers >= MAX_FOLLOWERS)
    throw new AdminRefusal(429, "rate_limit_exceeded", `Cannot follow requests: ${MAX_FOLLOWERS} others do`);
  const filter = filterIn(query);
  const shows = (row: UsageRow): boolean =>
    (filter.keyId ?? row.keyId) === row.keyId &&
    (filter.model ?? row.model) === row.model &&
    (filter.worker ?? row.worker) === row.worker &&
    (filter.outcome ?? row.outcome) === row.outcome;
  return new Response(feed.follow(shows, requestView), {
    headers: {
      "content-type": "text/event-stream",
      "cache-control": "no-store",
      "x-accel-buffering": "no",
    },
  });
}

function filterIn(query: URLSearchParams): Omit<RequestFilter, "limit" | "before"> {
  const keyId = query.get("key_id");
  const model = query.get("model");
  const worker = query.get("worker");
  const outcome: Outcome | undefined = oneOf(query, "outcome", OUTCOMES);
  return {
    ...(keyId !== null && { keyId }),
    ...(model !== null && { model }),
    ...(worker !== null && { worker }),
    ...(outcome !== undefined && { outcome }),
  };
}

function sumView(sum: UsageSum): UsageSumView {
  return {
    group: sum.group,
    requests: sum.requests,
    failed: sum.failed,
    prompt_tokens: sum.promptTokens,
    completion_tokens: sum.completionTokens,
    cached_tokens: sum.cachedTokens,
    bytes_in: sum.bytesIn,
    bytes_out: sum.bytesOut,
  };
}

function totalOf(usage: readonly UsageSumView[]): SumView {
  const total: SumView = {
    requests: 0,
    failed: 0,
    prompt_tokens: 0,
    completion_tokens: 0,
    cached_tokens: 0,
    bytes_in: 0,
    bytes_out: 0,
  };
  for (const sum of usage) {
    for (const name of Object.keys(total) as (keyof SumView)[]) total[name] += sum[name];
  }
  return total;
}

/** One request as operators see it; `null` where there is nothing. */
export function requestView(row: UsageRow): object {
  return {
    id: row.id,
    at: isoTime(row.at),
    key: row.keyId === undefined ? null : { id: row.keyId, name: row.keyName ?? "" },
    model: row.model,
    served_model: row.servedModel ?? null,
    worker: row.worker ?? null,
    path: row.path,
    status: row.status,
    outcome: row.outcome,
    reason: row.reason,
    queue_ms: row.queueMs ?? null,
    first_byte_ms: row.firstByteMs ?? null,
    total_ms: row.totalMs,
    prompt_tokens: row.promptTokens,
    completion_tokens: row.completionTokens,
    cached_tokens: row.cachedTokens,
    estimated: row.estimated,
    bytes_in: row.bytesIn,
    bytes_out: row.bytesOut,
  };
}

function isoTime(ms: number): string {
  return new Date(ms).toISOString();
}

/** A duration back from now, or a day or time in UTC. */
const DATE = /^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d))?$/;

function timeIn(query: URLSearchParams, name: string, now: number): number | undefined {
  const text = query.get(name);
  if (text === null) return undefined;
  const ago = /^\d+$/.test(text) ? undefined : parseDuration(text);
  const time = ago === undefined ? (DATE.test(text) ? Date.parse(text) : Number.NaN) : now - ago;
  if (Number.isFinite(time)) return Math.max(0, time);
  throw invalid(
    `Cannot use ${quoted(text)} as ${name}: expected a duration such as 7d, a day such as 2026-11-01, or a time such as 2026-11-01T08:00:00Z`,
  );
}

function limitIn(query: URLSearchParams): number {
  const text = query.get("limit") ?? String(DEFAULT_PAGE);
  const limit = Number(text);
  if (/^\d{1,4}$/.test(text) && limit >= 1 && limit <= MAX_PAGE) return limit;
  throw invalid(`Cannot use ${quoted(text)} as limit: expected a whole number from 1 to ${MAX_PAGE}`);
}
