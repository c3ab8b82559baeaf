import type { UsageRow } from "../usage/usage-store.ts";

// A row of usage is stored in two parts. Most requests are of a kind that was there before: the same key, model,
// worker, path and end. So the table `requests` holds what is different each time and the number of the kind, and
// the view `usage` puts both together: less than half of the bytes, and of the time to store them (2026-11).

/** Columns of `request_kinds`, and what PostgreSQL calls their types. */
const KIND_COLUMNS = {
  key_id: "text",
  key_name: "text",
  model: "text",
  served_model: "text",
  worker: "text",
  path: "text",
  status: "integer",
  outcome: "text",
  reason: "text",
  estimated: "integer",
} as const;

/** Columns of `requests`. */
const REQUEST_COLUMNS = {
  id: "text",
  at: "bigint",
  kind: "bigint",
  queue_ms: "bigint",
  first_byte_ms: "bigint",
  total_ms: "bigint",
  prompt_tokens: "bigint",
  completion_tokens: "bigint",
  cached_tokens: "bigint",
  bytes_in: "bigint",
  bytes_out: "bigint",
} as const;

export const KIND_NAMES = Object.keys(KIND_COLUMNS);
export const REQUEST_NAMES = Object.keys(REQUEST_COLUMNS);
/** Where a request's time and its kind stand among its values. */
export const TIME_AT = REQUEST_NAMES.indexOf("at");
export const KIND_AT = REQUEST_NAMES.indexOf("kind");

/** The same as SQL lists them, without and with their types. */
export const KIND_LIST = KIND_NAMES.join(", ");
export const REQUEST_LIST = REQUEST_NAMES.join(", ");
export const TYPED_KIND_LIST = typed(KIND_COLUMNS);
export const TYPED_REQUEST_LIST = typed(REQUEST_COLUMNS);

function typed(columns: Record<string, string>): string {
  return Object.entries(columns)
    .map(([name, type]) => `${name} ${type}`)
    .join(", ");
}

/** What a column holds. */
export type Value = string | number | null;

/** Rows on their way to the database. */
export interface UsageBatch {
  /** The kinds that are among them: the values of their columns. */
  kinds: Value[][];
  /** Those of the requests, one behind the other; each one's kind is its index in `kinds`. */
  requests: Value[];
}

/**
 * Rows as JSON, for the thread of the database: made and read in half the time that a message of objects takes
 * (2026-11).
 */
export function usageBatch(rows: readonly UsageRow[]): string {
  const kinds = new Map<string, number>();
  const requests: Value[] = [];
  let last: UsageRow | undefined;
  let kind = 0;
  for (const row of rows) {
    if (last === undefined || !isAlike(row, last)) kind = kindIn(kinds, row);
    last = row;
    requests.push(
      row.id,
      whole(row.at),
      kind,
      optionalWhole(row.queueMs),
      optionalWhole(row.firstByteMs),
      whole(row.totalMs),
      whole(row.promptTokens),
      whole(row.completionTokens),
      whole(row.cachedTokens),
      whole(row.bytesIn),
      whole(row.bytesOut),
    );
  }
  return `{"kinds":[${[...kinds.keys()].join(",")}],"requests":${JSON.stringify(requests)}}`;
}

/** @param kinds by their JSON. @returns the index of the row's, which is added if it is not there */
function kindIn(kinds: Map<string, number>, row: UsageRow): number {
  const json = JSON.stringify([
    row.keyId ?? null,
    row.keyName ?? null,
    row.model,
    row.servedModel ?? null,
    row.worker ?? null,
    row.path,
    row.status,
    row.outcome,
    row.reason,
    row.estimated ? 1 : 0,
  ]);
  const known = kinds.get(json);
  if (known !== undefined) return known;
  kinds.set(json, kinds.size);
  return kinds.size - 1;
}

/** Whether two rows are of one kind, told without the JSON of either: most rows follow one of their own kind. */
function isAlike(one: UsageRow, other: UsageRow): boolean {
  return (
    one.keyId === other.keyId &&
    one.model === other.model &&
    one.worker === other.worker &&
    one.path === other.path &&
    one.status === other.status &&
    one.outcome === other.outcome &&
    one.reason === other.reason &&
    one.servedModel === other.servedModel &&
    one.keyName === other.keyName &&
    one.estimated === other.estimated
  );
}

/** PostgreSQL keeps no NUL and no half of a character, and clients can name models with either. */
export function storable(value: string): string {
  return value.replaceAll("\0", "\ufffd").toWellFormed();
}

/** What `usageBatch` made, fit for every database. */
export function storableBatch(json: string): UsageBatch {
  const { kinds, requests } = JSON.parse(json) as UsageBatch;
  // JSON escapes both in this way, and nothing else but control characters.
  if (!json.includes("\\u")) return { kinds, requests };
  return { kinds: kinds.map((values) => values.map(storableValue)), requests: requests.map(storableValue) };
}

function storableValue(value: Value): Value {
  return typeof value === "string" ? storable(value) : value;
}

/** Each list of values as an object, by the names of the columns. @param values one list behind the other */
export function recordsOf(names: readonly string[], values: readonly Value[]): Record<string, Value>[] {
  const records: Record<string, Value>[] = [];
  for (let from = 0; from < values.length; from += names.length)
    records.push(Object.fromEntries(names.map((name, n) => [name, values[from + n] ?? null])));
  return records;
}

/** A number that was never measured must not keep the others of its batch from being stored. */
function whole(value: number): number {
  return Number.isFinite(value) ? Math.round(value) : 0;
}

function optionalWhole(value: number | null | undefined): number | null {
  return value === undefined || value === null || !Number.isFinite(value) ? null : Math.round(value);
}
