import type { KeptBodies } from "../bodies/body-store.ts";
import type { RemovedPage } from "../retention.ts";
import { integer, text, type Row } from "./columns.ts";
import type { Context } from "./operation.ts";

/** Of one removal: to overwrite that much takes the database some ten ms (2026-11). */
const PAGE_BYTES = 4 * 1024 * 1024;
const PAGE_ROWS = 200;

export async function insertBodies({ sql, database }: Context, bodies: KeptBodies[]): Promise<void> {
  const rows = bodies.map(({ id, at, request, answer }) => ({
    id,
    at,
    request_bytes: request.bytes,
    answer_bytes: answer.bytes,
    request: request.kept,
    answer: answer.kept,
  }));
  if (database.dialect === "sqlite") {
    await sql`INSERT INTO bodies ${sql(rows)} ON CONFLICT (id) DO NOTHING`;
    return;
  }
  // One statement for batches of all sizes, as for usage.
  await sql.unsafe(
    `INSERT INTO bodies (id, at, request_bytes, answer_bytes, request, answer)
     SELECT id, at, request_bytes, answer_bytes, decode(request, 'base64'), decode(answer, 'base64')
     FROM json_to_recordset($1::json)
       AS given (id text, at bigint, request_bytes bigint, answer_bytes bigint, request text, answer text)
     ON CONFLICT (id) DO NOTHING`,
    [rows.map((row) => ({ ...row, request: row.request.toBase64(), answer: row.answer.toBase64() }))],
  );
}

type BodyRow = Row & { request: Uint8Array; answer: Uint8Array };

export async function findBodies({ sql }: Context, id: string): Promise<KeptBodies | undefined> {
  const [row]: BodyRow[] = await sql`SELECT * FROM bodies WHERE id = ${id}`;
  if (row === undefined) return undefined;
  return {
    id: text(row["id"]),
    at: integer(row["at"]),
    request: { kept: new Uint8Array(row.request), bytes: integer(row["request_bytes"]) },
    answer: { kept: new Uint8Array(row.answer), bytes: integer(row["answer_bytes"]) },
  };
}

/** The oldest first. What is removed from a SQLite file is overwritten, so that it cannot be read there. */
export async function removeBodies({ sql, database }: Context, before: number): Promise<RemovedPage> {
  const old: Row[] = await sql`SELECT id, length(request) + length(answer) AS bytes FROM bodies
    WHERE at < ${before} ORDER BY at LIMIT ${PAGE_ROWS}`;
  let bytes = 0;
  const page: string[] = [];
  for (const row of old) {
    bytes += integer(row["bytes"]);
    if (page.length > 0 && bytes > PAGE_BYTES) break;
    page.push(text(row["id"]));
  }
  if (page.length > 0) {
    if (database.dialect === "sqlite") await sql.unsafe("PRAGMA secure_delete = ON");
    await sql`DELETE FROM bodies WHERE id IN ${sql(page)}`;
  }
  return { removed: page.length, more: page.length < old.length || old.length === PAGE_ROWS };
}
