import { statfsSync, statSync } from "node:fs";
import { dirname } from "node:path";
import type { Clock } from "../../base/clock.ts";
import { integer, text, type Row } from "./columns.ts";
import { within, type Database } from "./database.ts";
import { storeErrorOf } from "./failure.ts";
import { SCHEMA_VERSION } from "./migrations.ts";
import { schemaVersion } from "./schema.ts";
import type { StoreError } from "./store-error.ts";

/** And the version of the tables since which each is there. */
const TABLES = { keys: 1, worker_secrets: 1, usage: 1, bodies: 2 } as const;
export type CountedTable = keyof typeof TABLES;

/** For what has to take no time, whatever the size of the database. */
const TRIAL_MS = 5_000;
/** How many of its findings are told: a damaged index has one for each row. */
const MAX_FINDINGS = 10;

/** One thing that was tried, and what stood in its way. */
export interface Trial {
  ok: boolean;
  /** ms */
  tookMs: number;
  /** Why it failed; empty otherwise. */
  why: string;
  action: string | undefined;
}

/** What was seen of a database. Sizes in bytes; `undefined` where it could not be found out. */
export interface StoreCheck {
  dialect: Database["dialect"];
  location: string;
  /** Of the database; 0 without tables. */
  schemaVersion: number;
  /** Of this program. */
  knownVersion: number;
  /** What is wrong with the pages; `undefined` for PostgreSQL, which has programs of its own for that. */
  findings: string[] | undefined;
  /** Reading every row of the tables. */
  readable: Trial;
  rows: Partial<Record<CountedTable, number>>;
  /** Taking the lock of a writer, and writing. */
  writable: Trial;
  databaseBytes: number | undefined;
  /** Changes that are not in the database file yet. */
  journalBytes: number | undefined;
  freeBytes: number | undefined;
}

/** @throws {StoreError} if the database cannot be opened at all */
export async function checkDatabase(
  database: Database,
  clock: Clock,
  signal: AbortSignal,
): Promise<StoreCheck> {
  const soon = { clock, location: database.location };
  const version = await within(soon, TRIAL_MS, (ending) =>
    database.run("read", (sql) => schemaVersion(database, sql), ending),
  );
  const rows: StoreCheck["rows"] = {};
  const isFile = database.dialect === "sqlite";
  const findings = isFile ? await integrity(database, signal) : undefined;
  const readable = await tried(database, clock, async () => {
    for (const table of Object.keys(TABLES) as CountedTable[]) {
      if (version < TABLES[table]) continue;
      rows[table] = await database.run(
        "read",
        async (sql) => integer((await sql.unsafe(`SELECT COUNT(*) AS rows FROM ${table}`))[0]?.rows),
        signal,
      );
    }
  });
  const writable = await tried(database, clock, () =>
    within(soon, TRIAL_MS, (ending) =>
      database.run(
        "write",
        async (sql) => {
          if (version > 0) await noteProbe(sql, clock);
        },
        ending,
      ),
    ),
  );
  return {
    dialect: database.dialect,
    location: database.location,
    schemaVersion: version,
    knownVersion: SCHEMA_VERSION,
    findings,
    readable,
    rows,
    writable,
    databaseBytes: isFile ? sizeOf(database.location) : await serverSize(database, signal),
    journalBytes: isFile ? (sizeOf(`${database.location}-wal`) ?? 0) : undefined,
    freeBytes: isFile ? freeSpace(database.location) : undefined,
  };
}

/** Writes as little as can be, to see whether that is possible. */
export async function noteProbe(sql: Bun.SQL, clock: Clock): Promise<void> {
  const now = String(clock.wall());
  await sql`INSERT INTO meta (name, value) VALUES ('probed_at', ${now})
    ON CONFLICT (name) DO UPDATE SET value = excluded.value`;
}

async function integrity(database: Database, signal: AbortSignal): Promise<string[]> {
  try {
    const rows: Row[] = await database.run(
      "read",
      (sql) => sql.unsafe(`PRAGMA integrity_check(${MAX_FINDINGS})`),
      signal,
    );
    return rows.map((row) => text(row["integrity_check"])).filter((finding) => finding !== "ok");
  } catch (thrown) {
    return [storeErrorOf(thrown, database.dialect, database.location).message];
  }
}

async function tried(database: Database, clock: Clock, trial: () => Promise<void>): Promise<Trial> {
  const begun = clock.now();
  let error: StoreError | undefined;
  try {
    await trial();
  } catch (thrown) {
    error = storeErrorOf(thrown, database.dialect, database.location);
  }
  return {
    ok: error === undefined,
    tookMs: Math.round(clock.now() - begun),
    why: error?.message ?? "",
    action: error?.action,
  };
}

async function serverSize(database: Database, signal: AbortSignal): Promise<number | undefined> {
  const [row] = await database.run(
    "read",
    async (sql): Promise<Row[]> => sql`SELECT pg_database_size(current_database()) AS bytes`,
    signal,
  );
  return row && integer(row["bytes"]);
}

function sizeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.size;
}

function freeSpace(file: string): number {
  const { bavail, bsize } = statfsSync(dirname(file));
  return bavail * bsize;
}
