import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { MIGRATIONS, SCHEMA_VERSION } from "../../../src/server/store/migrations.ts";
import { PostgresDatabase } from "../../../src/server/store/postgres-database.ts";
import { migrate } from "../../../src/server/store/schema.ts";
import { SqliteDatabase } from "../../../src/server/store/sqlite-database.ts";
import { DATABASE_FILE, type Store } from "../../../src/server/store/store.ts";
import type { UsageRow } from "../../../src/server/usage/usage-store.ts";
import { beside, DATABASE_KINDS, errorOf, type TestDatabase, usage } from "./stores.ts";

const CHILD = join(import.meta.dir, "migration-child.ts");

function settingsOf({ options: { dataDir, url } }: TestDatabase) {
  return { file: join(dataDir, DATABASE_FILE), url, purpose: "serve", timeoutMs: 10_000 } as const;
}

/** Makes the tables as the program made them that knew them up to that version. */
async function makeOlder(database: TestDatabase, version: number): Promise<void> {
  const settings = settingsOf(database);
  const tools = { clock: systemClock };
  const { url } = settings;
  const older =
    url === undefined ? new SqliteDatabase(settings, tools) : new PostgresDatabase(url, settings, tools);
  await migrate(older, systemClock, AbortSignal.timeout(20_000), MIGRATIONS.slice(0, version));
  await older.close();
}

async function migrateInProcess(
  database: TestDatabase,
  ending: "kill" | "finish",
): Promise<{ stdout: string; signal: unknown }> {
  const settings = settingsOf(database);
  const child = Bun.spawn([process.execPath, CHILD, JSON.stringify(settings), ending], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [stdout] = await Promise.all([child.stdout.text(), child.exited]);
  return { stdout, signal: child.signalCode };
}

function columnsOfVersion2(row: UsageRow) {
  return {
    id: row.id,
    at: row.at,
    key_id: row.keyId ?? null,
    key_name: row.keyName ?? null,
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
    estimated: row.estimated ? 1 : 0,
    bytes_in: row.bytesIn,
    bytes_out: row.bytesOut,
  };
}

/** Resolves when a transaction waits for another one's lock. */
async function someoneWaits({ options }: TestDatabase): Promise<void> {
  await using sql = beside(options);
  for (;;) {
    const waiting = await sql`SELECT 1 FROM pg_locks WHERE NOT granted AND locktype = 'relation'`;
    if (waiting.length > 0) return;
  }
}

test("Migrations count from 1 without gaps", () => {
  expect(MIGRATIONS.map(({ version }) => version)).toEqual(MIGRATIONS.map((_, index) => index + 1));
  expect(SCHEMA_VERSION).toBe(MIGRATIONS.length);
});

for (const kind of DATABASE_KINDS) {
  describe.skipIf(kind.skip)(`The tables in ${kind.name}`, () => {
    afterAll(() => kind.stop());

    test("are made once, whoever opens the database at the same time", async () => {
      await using database = await kind.create();
      const stores = await Promise.all(Array.from({ length: 4 }, () => database.open()));
      expect(stores.map(({ schemaVersion }) => schemaVersion)).toEqual(Array(4).fill(SCHEMA_VERSION));
      await using sql = beside(database.options);
      const rows = await sql`SELECT version FROM schema_versions ORDER BY version`;
      expect([...rows]).toEqual(MIGRATIONS.map(({ version }) => ({ version })));
    });

    test("of version 1 get the one for bodies, and keep what is in the others", async () => {
      await using database = await kind.create();
      await makeOlder(database, 1);
      await using sql = beside(database.options);
      await sql`INSERT INTO worker_secrets (id, name, prefix, hash, created_at) VALUES ('w', 'desk', 'mr_work_', 'h', 5)`;
      const store = await database.open();
      expect(store.schemaVersion).toBe(SCHEMA_VERSION);
      expect(await store.listWorkerSecrets()).toMatchObject([{ id: "w", name: "desk", createdAt: 5 }]);
      expect(await store.findBodies("any")).toBeUndefined();
    });

    test("of version 2 keep every row of usage, and sum it up with what comes later", async () => {
      await using database = await kind.create();
      await makeOlder(database, 2);
      await using sql = beside(database.options);
      const now = Date.now();
      const rows = [
        usage({ at: now - 1, keyId: "k", keyName: 'a "name", \\ and \n more', model: "m" }),
        usage({ at: now - 2, keyId: "k", keyName: 'a "name", \\ and \n more', model: "m", promptTokens: 7 }),
        usage({
          at: now - 3,
          model: "ü".repeat(256),
          path: `/v1/${"p".repeat(500)}`,
          outcome: "failed",
          reason: "r",
        }),
        usage({ at: now - 4, servedModel: "m-q4", worker: "w", queueMs: undefined, estimated: true }),
      ];
      for (const row of rows) await sql`INSERT INTO usage ${sql(columnsOfVersion2(row))}`;
      const store = await database.open();
      expect(await store.recentRequests({ limit: 10 })).toEqual(rows);
      const later = [usage({ ...rows[0], id: "later" }), usage({ ...rows[0], id: rows[1]!.id })];
      await store.insertUsage(later);
      expect(await store.findRequest("later")).toEqual(later[0]);
      expect(await store.findRequest(rows[1]!.id)).toEqual(rows[1]);
      expect((await store.sumUsage("model", 0)).find(({ group }) => group === "m")).toMatchObject({
        requests: 3,
      });
    });

    test("of version 2 keep what a relay of that version stores while they are changed", async () => {
      await using database = await kind.create();
      await makeOlder(database, 2);
      await using sql = beside(database.options);
      const row = usage();
      let opening: Promise<Store> | undefined;
      await sql.begin(kind.name === "SQLite" ? "immediate" : "read write", async (tx) => {
        await tx`INSERT INTO usage ${sql(columnsOfVersion2(row))}`;
        opening = database.open();
        if (kind.name === "PostgreSQL") await someoneWaits(database);
      });
      expect(await (await opening!).findRequest(row.id)).toEqual(row);
    });

    test("find the usage of a time by an index that knows the kinds", async () => {
      await using database = await kind.create();
      await database.open();
      await using sql = beside(database.options);
      const rows: { name: string }[] =
        kind.name === "SQLite"
          ? await sql`SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'requests' AND sql IS NOT NULL`
          : await sql`SELECT indexname AS name FROM pg_indexes WHERE tablename = 'requests' AND indexdef NOT LIKE '%UNIQUE%'`;
      expect(rows.map(({ name }) => name)).toEqual(["requests_by_time"]);
    });

    test("are changed by one of two processes, and both go on", async () => {
      await using database = await kind.create();
      const both = await Promise.all([
        migrateInProcess(database, "finish"),
        migrateInProcess(database, "finish"),
      ]);
      expect(both.map(({ stdout }) => stdout)).toEqual(["version 2\n", "version 2\n"]);
      await using sql = beside(database.options);
      expect([...(await sql`SELECT a FROM first ORDER BY a`)]).toEqual([{ a: 1 }, { a: 2 }]);
      expect([...(await sql`SELECT a FROM second`)]).toEqual([{ a: 1 }]);
    });

    test("stand at a whole step when a process is killed within one, and the next process goes on", async () => {
      await using database = await kind.create();
      expect((await migrateInProcess(database, "kill")).signal).toBe("SIGKILL");
      await using sql = beside(database.options);
      expect([...(await sql`SELECT version FROM schema_versions`)]).toEqual([{ version: 1 }]);
      expect([...(await sql`SELECT a FROM first`)]).toEqual([{ a: 1 }]);
      expect((await migrateInProcess(database, "finish")).stdout).toBe("version 2\n");
      expect([...(await sql`SELECT a FROM second`)]).toEqual([{ a: 1 }]);
    });

    test("of a newer program are refused with what to do, and can still be looked at", async () => {
      await using database = await kind.create();
      await (await database.open()).close();
      await using sql = beside(database.options);
      await sql`INSERT INTO schema_versions (version, applied_at) VALUES (${7}, ${0})`;
      const error = await errorOf(database.open());
      expect(error.code).toBe("store_newer");
      expect(error.message).toContain(
        `its tables have version 7, and this modelrelay knows them up to ${SCHEMA_VERSION}`,
      );
      expect(error.action).toContain("Install the modelrelay that was used last, or a newer one");
      const store = await database.open({ purpose: "inspect" });
      expect(await store.check()).toMatchObject({ schemaVersion: 7, knownVersion: SCHEMA_VERSION });
      if (kind.name === "PostgreSQL") return;
      // What a newer program left can be saved before anything is tried with it.
      const copy = join(database.options.dataDir, "copy.db");
      expect((await store.backup(copy)).file).toBe(copy);
    });

    test("are not made by one who only looks", async () => {
      await using database = await kind.create();
      if (kind.name === "SQLite") {
        expect((await errorOf(database.open({ purpose: "inspect" }))).code).toBe("store_missing");
        return;
      }
      const store = await database.open({ purpose: "inspect" });
      expect(await store.check()).toMatchObject({ schemaVersion: 0, rows: {}, writable: { ok: true } });
    });
  });
}
