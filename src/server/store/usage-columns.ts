import type { UsageRow } from "../usage/usage-store.ts";

/** The columns and what PostgreSQL calls their types. */
const COLUMNS = {
  id: "text",
  at: "bigint",
  key_id: "text",
  key_name: "text",
  model: "text",
  served_model: "text",
  worker: "text",
  path: "text",
  status: "integer",
  outcome: "text",
  reason: "text",
  queue_ms: "bigint",
  first_byte_ms: "bigint",
  total_ms: "bigint",
  prompt_tokens: "bigint",
  completion_tokens: "bigint",
  cached_tokens: "bigint",
  estimated: "integer",
  bytes_in: "bigint",
  bytes_out: "bigint",
} as const;

export const COLUMN_NAMES = Object.keys(COLUMNS);
/** As SQL lists them. */
export const COLUMN_LIST = COLUMN_NAMES.join(", ");
export const TYPED_COLUMN_LIST = Object.entries(COLUMNS)
  .map(([name, type]) => `${name} ${type}`)
  .join(", ");

/** What a column holds. */
export type Value = string | number | null;

/**
 * Rows on their way to the thread of the database: their values in the order of the columns, one row behind
 * the other, as JSON. Made and read in half the time that objects take, or a message of them (2026-11).
 */
export function usageValues(rows: readonly UsageRow[]): string {
  const values: Value[] = [];
  for (const row of rows) {
    values.push(
      row.id,
      whole(row.at),
      row.keyId ?? null,
      row.keyName ?? null,
      row.model,
      row.servedModel ?? null,
      row.worker ?? null,
      row.path,
      row.status,
      row.outcome,
      row.reason,
      optionalWhole(row.queueMs),
      optionalWhole(row.firstByteMs),
      whole(row.totalMs),
      whole(row.promptTokens),
      whole(row.completionTokens),
      whole(row.cachedTokens),
      row.estimated ? 1 : 0,
      whole(row.bytesIn),
      whole(row.bytesOut),
    );
  }
  return JSON.stringify(values);
}

/** PostgreSQL keeps no NUL and no half of a character, and clients can name models with either. */
export function storable(value: string): string {
  return value.replaceAll("\0", "\ufffd").toWellFormed();
}

/** What `usageValues` made, fit for every database. */
export function storableValues(json: string): Value[] {
  const values = JSON.parse(json) as Value[];
  // JSON escapes both in this way, and nothing else but control characters.
  if (!json.includes("\\u")) return values;
  return values.map((value) => (typeof value === "string" ? storable(value) : value));
}

/** Each row as an object, by the names of the columns. */
export function recordsOf(values: readonly Value[]): Record<string, Value>[] {
  const records: Record<string, Value>[] = [];
  for (let from = 0; from < values.length; from += COLUMN_NAMES.length)
    records.push(Object.fromEntries(COLUMN_NAMES.map((name, n) => [name, values[from + n] ?? null])));
  return records;
}

/** A number that was never measured must not keep the others of its batch from being stored. */
function whole(value: number): number {
  return Number.isFinite(value) ? Math.round(value) : 0;
}

function optionalWhole(value: number | null | undefined): number | null {
  return value === undefined || value === null || !Number.isFinite(value) ? null : Math.round(value);
}
