import { randomBytes } from "node:crypto";
import type { KeyChanges, KeyRecord } from "../keys/key-store.ts";
import type { WorkerSecretRecord } from "../keys/worker-secret-store.ts";
import {
  integer,
  keyColumns,
  keyOf,
  text,
  workerSecretColumns,
  workerSecretOf,
  type Row,
} from "./columns.ts";
import type { Context } from "./operation.ts";
import type { SQL } from "bun";

/** Some records of a list, and where the next ones begin; `undefined` after the last. */
export interface Page<T> {
  records: T[];
  next: number | undefined;
}

/** Records of one page: few enough to be taken over within a millisecond. */
const PAGE_RECORDS = 200;

function page<T>(rows: Row[], read: (row: Row) => T): Page<T> {
  const last = rows.length < PAGE_RECORDS ? undefined : rows.at(-1)?.["serial"];
  return { records: rows.map(read), next: last === undefined ? undefined : integer(last) };
}

/** @param after `next` of the page before; 0 for the first */
export async function keysAfter({ sql }: Context, after: number): Promise<Page<KeyRecord>> {
  const rows: Row[] =
    await sql`SELECT * FROM keys WHERE serial > ${after} ORDER BY serial LIMIT ${PAGE_RECORDS}`;
  return page(rows, keyOf);
}

export async function insertKey({ sql }: Context, record: KeyRecord): Promise<void> {
  await sql`INSERT INTO keys ${sql(keyColumns(record))}`;
  await growRevision(sql);
}

export async function updateKey(
  { sql }: Context,
  id: string,
  changes: KeyChanges,
): Promise<KeyRecord | undefined> {
  const columns = keyColumns(changes);
  if (Object.keys(columns).length === 0) {
    const [row]: Row[] = await sql`SELECT * FROM keys WHERE id = ${id}`;
    return row && keyOf(row);
  }
  const [row]: Row[] = await sql`UPDATE keys SET ${sql(columns)} WHERE id = ${id} RETURNING *`;
  if (row === undefined) return undefined;
  await growRevision(sql);
  return keyOf(row);
}

export async function revokeKey({ sql }: Context, id: string, at: number): Promise<KeyRecord | undefined> {
  const [row]: Row[] =
    await sql`UPDATE keys SET revoked_at = COALESCE(revoked_at, ${at}) WHERE id = ${id} RETURNING *`;
  if (row === undefined) return undefined;
  await growRevision(sql);
  return keyOf(row);
}

export async function touchKeys({ sql }: Context, lastUsedAt: ReadonlyMap<string, number>): Promise<void> {
  // In one order, so that two relays never wait for each other's rows.
  for (const [id, at] of [...lastUsedAt].sort(([a], [b]) => (a < b ? -1 : 1))) {
    await sql`UPDATE keys SET last_used_at = ${at} WHERE id = ${id} AND (last_used_at IS NULL OR last_used_at < ${at})`;
  }
}

export async function workerSecretsAfter({ sql }: Context, after: number): Promise<Page<WorkerSecretRecord>> {
  const rows: Row[] =
    await sql`SELECT * FROM worker_secrets WHERE serial > ${after} ORDER BY serial LIMIT ${PAGE_RECORDS}`;
  return page(rows, workerSecretOf);
}

export async function insertWorkerSecret({ sql }: Context, record: WorkerSecretRecord): Promise<void> {
  await sql`INSERT INTO worker_secrets ${sql(workerSecretColumns(record))}`;
  await growRevision(sql);
}

export async function revokeWorkerSecret(
  { sql }: Context,
  id: string,
  at: number,
): Promise<WorkerSecretRecord | undefined> {
  const [row]: Row[] =
    await sql`UPDATE worker_secrets SET revoked_at = COALESCE(revoked_at, ${at}) WHERE id = ${id} RETURNING *`;
  if (row === undefined) return undefined;
  await growRevision(sql);
  return workerSecretOf(row);
}

/** In hexadecimal. Whoever asks first makes it. */
export async function hashSecret({ sql }: Context): Promise<string> {
  const made = randomBytes(32).toString("hex");
  await sql`INSERT INTO meta (name, value) VALUES ('hash_secret', ${made}) ON CONFLICT (name) DO NOTHING`;
  const [row]: Row[] = await sql`SELECT value FROM meta WHERE name = 'hash_secret'`;
  return text(row?.["value"]);
}

export async function revision({ sql }: Context): Promise<number> {
  const [row]: Row[] = await sql`SELECT value FROM meta WHERE name = 'revision'`;
  return integer(row?.["value"]);
}

async function growRevision(sql: SQL): Promise<void> {
  await sql`UPDATE meta SET value = CAST(CAST(value AS BIGINT) + 1 AS TEXT) WHERE name = 'revision'`;
}
