import type { Outcome } from "../request-record.ts";
import type { RequestFilter, UsageGroup, UsageRow, UsageSum } from "../usage/usage-store.ts";
import { integer, optionalInteger, optionalText, text, type Row } from "./columns.ts";
import type { Context } from "./operation.ts";
import { COLUMN_LIST, storable } from "./usage-columns.ts";

const DAY_MS = 86_400_000;
/** Rows of one answer: taking them over costs the relay's thread 2 ms (2026-11). */
const MAX_ROWS = 1_000;
/** Names of models come from clients, who can make up any number of them. */
const MAX_GROUPS = 1_000;

function rowOf(row: Row): UsageRow {
  return {
    id: text(row["id"]),
    at: integer(row["at"]),
    keyId: optionalText(row["key_id"]),
    keyName: optionalText(row["key_name"]),
    model: text(row["model"]),
    servedModel: optionalText(row["served_model"]),
    worker: optionalText(row["worker"]),
    path: text(row["path"]),
    status: integer(row["status"]),
    outcome: text(row["outcome"]) as Outcome,
    reason: text(row["reason"]),
    queueMs: optionalInteger(row["queue_ms"]),
    firstByteMs: optionalInteger(row["first_byte_ms"]),
    totalMs: integer(row["total_ms"]),
    promptTokens: integer(row["prompt_tokens"]),
    completionTokens: integer(row["completion_tokens"]),
    cachedTokens: integer(row["cached_tokens"]),
    estimated: integer(row["estimated"]) !== 0,
    bytesIn: integer(row["bytes_in"]),
    bytesOut: integer(row["bytes_out"]),
  };
}

const SUMS = `COUNT(*) AS requests,
  SUM(CASE WHEN usage.outcome = 'failed' THEN 1 ELSE 0 END) AS failed,
  SUM(usage.prompt_tokens) AS prompt_tokens,
  SUM(usage.completion_tokens) AS completion_tokens,
  SUM(usage.cached_tokens) AS cached_tokens,
  SUM(usage.bytes_in) AS bytes_in,
  SUM(usage.bytes_out) AS bytes_out`;

const MOST_USED_FIRST = "SUM(usage.prompt_tokens + usage.completion_tokens) DESC, COUNT(*) DESC, group_name";

/** Of each group: its name, what rows of one group have in common, and the order. */
const GROUPS: Record<UsageGroup, { name: string; by: string; order: string; join?: string }> = {
  // A key that was renamed is still one key, under the name that it has now.
  key: {
    name: "COALESCE(MAX(keys.name), MAX(usage.key_name), '')",
    by: "usage.key_id",
    order: MOST_USED_FIRST,
    join: "LEFT JOIN keys ON keys.id = usage.key_id",
  },
  model: { name: "usage.model", by: "usage.model", order: MOST_USED_FIRST },
  worker: { name: "COALESCE(MAX(usage.worker), '')", by: "usage.worker", order: MOST_USED_FIRST },
  day: { name: `usage.at / ${DAY_MS}`, by: `usage.at / ${DAY_MS}`, order: `usage.at / ${DAY_MS} DESC` },
};

function groupName(by: UsageGroup, row: Row): string {
  if (by !== "day") return text(row["group_name"]);
  return new Date(integer(row["group_name"]) * DAY_MS).toISOString().slice(0, 10);
}

export async function sumUsage(
  { sql }: Context,
  by: UsageGroup,
  since: number,
  until: number,
): Promise<UsageSum[]> {
  const { name, by: common, order, join = "" } = GROUPS[by];
  const rows: Row[] = await sql.unsafe(
    `SELECT ${name} AS group_name, ${SUMS} FROM usage ${join}
     WHERE usage.at >= $1 AND usage.at < $2 GROUP BY ${common} ORDER BY ${order} LIMIT ${MAX_GROUPS}`,
    [since, until],
  );
  // Of days the last ones are kept, and told in their order.
  if (by === "day") rows.reverse();
  return rows.map((row) => ({
    group: groupName(by, row),
    requests: integer(row["requests"]),
    failed: integer(row["failed"]),
    promptTokens: integer(row["prompt_tokens"]),
    completionTokens: integer(row["completion_tokens"]),
    cachedTokens: integer(row["cached_tokens"]),
    bytesIn: integer(row["bytes_in"]),
    bytesOut: integer(row["bytes_out"]),
  }));
}

const FILTERS = {
  keyId: "key_id =",
  model: "model =",
  worker: "worker =",
  outcome: "outcome =",
  before: "at <",
} as const;

/** At most 1,000; `before` leads to the next ones. */
export async function recentRequests({ sql }: Context, filter: RequestFilter): Promise<UsageRow[]> {
  const values: (string | number)[] = [];
  const conditions = (Object.keys(FILTERS) as (keyof typeof FILTERS)[]).flatMap((field) => {
    const value = filter[field];
    if (value === undefined) return [];
    const stored = typeof value === "string" ? storable(value) : value;
    return [`${FILTERS[field]} $${values.push(stored)}`];
  });
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  const rows: Row[] = await sql.unsafe(
    `SELECT ${COLUMN_LIST} FROM usage ${where} ORDER BY at DESC, id DESC LIMIT $${values.push(Math.min(filter.limit, MAX_ROWS))}`,
    values,
  );
  return rows.map(rowOf);
}

export async function findRequest({ sql }: Context, id: string): Promise<UsageRow | undefined> {
  const [row]: Row[] = await sql.unsafe(`SELECT ${COLUMN_LIST} FROM usage WHERE id = $1`, [id]);
  return row && rowOf(row);
}

/** As pairs of a key's id and its tokens. */
export async function tokensByKey({ sql }: Context, since: number): Promise<[string, number][]> {
  const rows: Row[] = await sql`SELECT key_id, SUM(prompt_tokens + completion_tokens) AS tokens FROM usage
    WHERE at >= ${since} AND key_id IS NOT NULL GROUP BY key_id`;
  return rows.map((row) => [text(row["key_id"]), integer(row["tokens"])]);
}

/** The oldest first. */
export async function removeUsage({ sql }: Context, before: number, limit: number): Promise<number> {
  const removed =
    await sql`DELETE FROM usage WHERE id IN (SELECT id FROM usage WHERE at < ${before} ORDER BY at LIMIT ${limit})`;
  return removed.affectedRows;
}
