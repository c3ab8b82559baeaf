import type { SQL } from "bun";
import type { Outcome } from "../request-record.ts";
import type { RequestFilter, UsageGroup, UsageRow, UsageSum } from "../usage/usage-store.ts";
import { integer, optionalInteger, optionalText, text, type Row } from "./columns.ts";
import type { Context } from "./operation.ts";
import { storable } from "./usage-columns.ts";

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

const SUMS = `SUM(sums.requests) AS requests,
  SUM(CASE WHEN kinds.outcome = 'failed' THEN sums.requests ELSE 0 END) AS failed,
  SUM(sums.prompt_tokens) AS prompt_tokens,
  SUM(sums.completion_tokens) AS completion_tokens,
  SUM(sums.cached_tokens) AS cached_tokens,
  SUM(sums.bytes_in) AS bytes_in,
  SUM(sums.bytes_out) AS bytes_out`;

/** That of a request. */
const DAY = `at / ${DAY_MS}`;

const MOST_USED_FIRST =
  "SUM(sums.prompt_tokens + sums.completion_tokens) DESC, SUM(sums.requests) DESC, group_name";

/** Of each group: its name, what rows of one group have in common, and the order. */
const GROUPS: Record<UsageGroup, { name: string; by: string; order: string; join?: string }> = {
  // A key that was renamed is still one key, under the name that it has now.
  key: {
    name: "COALESCE(MAX(keys.name), MAX(kinds.key_name), '')",
    by: "kinds.key_id",
    order: MOST_USED_FIRST,
    join: "LEFT JOIN keys ON keys.id = kinds.key_id",
  },
  model: { name: "kinds.model", by: "kinds.model", order: MOST_USED_FIRST },
  worker: { name: "COALESCE(MAX(kinds.worker), '')", by: "kinds.worker", order: MOST_USED_FIRST },
  day: { name: "sums.day", by: "sums.day", order: "sums.day DESC" },
};

/** Sums of the requests of each kind, or of each kind and day, in a time: of many rows this makes few. */
function sumsOfKinds(byDay: boolean): string {
  return `(SELECT kind, ${byDay ? `${DAY} AS day, ` : ""}COUNT(*) AS requests,
    SUM(prompt_tokens) AS prompt_tokens, SUM(completion_tokens) AS completion_tokens,
    SUM(cached_tokens) AS cached_tokens, SUM(bytes_in) AS bytes_in, SUM(bytes_out) AS bytes_out
    FROM requests WHERE at >= $1 AND at < $2 GROUP BY kind${byDay ? `, ${DAY}` : ""}) AS sums
    JOIN request_kinds AS kinds ON kinds.id = sums.kind`;
}

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
    `SELECT ${name} AS group_name, ${SUMS} FROM ${sumsOfKinds(by === "day")} ${join}
     GROUP BY ${common} ORDER BY ${order} LIMIT ${MAX_GROUPS}`,
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

/** Columns of kinds that can be asked for. */
const FILTERS = { keyId: "key_id", model: "model", worker: "worker", outcome: "outcome" } as const;

/** At most 1,000; `before` leads to the next ones. */
export async function recentRequests({ sql }: Context, filter: RequestFilter): Promise<UsageRow[]> {
  const values: (string | number)[] = [];
  const ofKind = (Object.keys(FILTERS) as (keyof typeof FILTERS)[]).flatMap((field) => {
    const value = filter[field];
    return value === undefined ? [] : [`${FILTERS[field]} = $${values.push(storable(value))}`];
  });
  const conditions =
    ofKind.length === 0 ? [] : [`kind IN (SELECT id FROM request_kinds WHERE ${ofKind.join(" AND ")})`];
  if (filter.before !== undefined) conditions.push(`at < $${values.push(filter.before)}`);
  // The table tells which they are: the view has no kind, by which the index passes over those of others.
  const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
  const limit = `$${values.push(Math.min(filter.limit, MAX_ROWS))}`;
  const rows: Row[] = await sql.unsafe(
    `SELECT * FROM usage
     WHERE id IN (SELECT id FROM requests ${where} ORDER BY at DESC, id DESC LIMIT ${limit})
     ORDER BY at DESC, id DESC`,
    values,
  );
  return rows.map(rowOf);
}

export async function findRequest({ sql }: Context, id: string): Promise<UsageRow | undefined> {
  const [row]: Row[] = await sql.unsafe(`SELECT * FROM usage WHERE id = $1`, [id]);
  return row && rowOf(row);
}

/** As pairs of a key's id and its tokens. */
export async function tokensByKey({ sql }: Context, since: number): Promise<[string, number][]> {
  const rows: Row[] = await sql`SELECT kinds.key_id AS key_id, SUM(sums.tokens) AS tokens
    FROM (SELECT kind, SUM(prompt_tokens + completion_tokens) AS tokens FROM requests WHERE at >= ${since} GROUP BY kind) AS sums
    JOIN request_kinds AS kinds ON kinds.id = sums.kind
    WHERE kinds.key_id IS NOT NULL GROUP BY kinds.key_id`;
  return rows.map((row) => [text(row["key_id"]), integer(row["tokens"])]);
}

/** The oldest first; with the last of them go the kinds of requests of which none are left. */
export async function removeUsage({ sql }: Context, before: number, limit: number): Promise<number> {
  const { affectedRows } =
    await sql`DELETE FROM requests WHERE id IN (SELECT id FROM requests WHERE at < ${before} ORDER BY at LIMIT ${limit})`;
  if (affectedRows < limit) await removeKinds(sql, Math.floor(before / DAY_MS));
  return affectedRows;
}

/**
 * What was last used before a day has no requests since then. The numbers of those of the last two days may be
 * known to a relay that is about to use them.
 */
async function removeKinds(sql: SQL, day: number): Promise<void> {
  await sql`DELETE FROM request_kinds WHERE used_day < ${day} - 1
    AND used_day < (SELECT MAX(used_day) FROM request_kinds) - 1`;
}
