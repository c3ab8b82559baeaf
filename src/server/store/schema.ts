import type { SQL } from "bun";
import type { Clock } from "../../base/clock.ts";
import type { Database } from "./database.ts";
import { MIGRATIONS, type Migration } from "./migrations.ts";
import { StoreError } from "./store-error.ts";

/** Held while the tables of one PostgreSQL database change; the number has no meaning but is ours alone. */
const MIGRATION_LOCK = 7_402_581_936;

/** The version of the tables in the database; 0 if there are none. */
export async function schemaVersion({ dialect }: Pick<Database, "dialect">, sql: SQL): Promise<number> {
  const found =
    dialect === "sqlite"
      ? await sql`SELECT name FROM sqlite_master WHERE type = 'table' AND name = 'schema_versions'`
      : // Not to_regclass: within a transaction it remembers that there was none (a process that waits for the lock).
        await sql`SELECT 1 FROM pg_catalog.pg_tables
          WHERE tablename = 'schema_versions' AND schemaname = ANY (current_schemas(false))`;
  if (found.length === 0) return 0;
  const [row] = await sql`SELECT MAX(version) AS version FROM schema_versions`;
  return Number(row?.version ?? 0);
}

/**
 * Brings the tables to the version that this program knows. Each step is a transaction of its own, in which
 * the version is read again: of several processes at once one does it, and a process that is killed leaves
 * whole steps.
 *
 * @returns the version
 * @throws {StoreError} `store_newer`
 */
export async function migrate(
  database: Database,
  clock: Clock,
  signal: AbortSignal,
  migrations: readonly Migration[] = MIGRATIONS,
): Promise<number> {
  const known = migrations.length;
  let version = await database.run("read", (sql) => schemaVersion(database, sql), signal);
  while (version < known) {
    version = await database.run("write", (sql) => step(database, sql, clock, migrations), signal);
  }
  if (version > known) throw newer(database, version, known);
  return version;
}

/** One step, unless another process was faster. @returns the version then */
async function step(
  database: Database,
  sql: SQL,
  clock: Clock,
  migrations: readonly Migration[],
): Promise<number> {
  if (database.dialect === "postgres") {
    // A step on a large table may take longer than any call.
    await sql`SELECT set_config('statement_timeout', '0', true)`;
    await sql`SELECT pg_advisory_xact_lock(${MIGRATION_LOCK})`;
  }
  const version = await schemaVersion(database, sql);
  const next = migrations[version];
  if (next === undefined) return version;
  if (version === 0) {
    await sql`CREATE TABLE schema_versions (version INTEGER PRIMARY KEY, applied_at BIGINT NOT NULL)`;
  }
  for (const statement of next.statements(database.dialect)) await sql.unsafe(statement);
  await sql`INSERT INTO schema_versions (version, applied_at) VALUES (${next.version}, ${clock.wall()})`;
  return next.version;
}

function newer({ location }: Database, version: number, known: number): StoreError {
  return new StoreError(
    "store_newer",
    `Cannot use the database "${location}": its tables have version ${version}, and this modelrelay knows them up to ${known}`,
    {
      action: `Install the modelrelay that was used last, or a newer one; to go back, restore a backup that was made before the update`,
    },
  );
}
