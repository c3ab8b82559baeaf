import { afterAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { SQL } from "bun";
import { MIGRATIONS, SCHEMA_VERSION } from "../../../src/server/store/migrations.ts";
import { DATABASE_FILE, type StoreOptions } from "../../../src/server/store/store.ts";
import { DATABASE_KINDS, errorOf, key, type TestDatabase } from "./stores.ts";

const CHILD = join(import.meta.dir, "migration-child.ts");

/** The database without a store around it. */
function beside({ dataDir, url }: StoreOptions): SQL {
  return url === undefined
    ? new SQL({ adapter: "sqlite", filename: join(dataDir, DATABASE_FILE) })
    : new SQL(url);
}

async function migrateInProcess(
  { options: { dataDir, url } }: TestDatabase,
  ending: "kill" | "finish",
): Promise<{ stdout: string; signal: unknown }> {
  const settings = { file: join(dataDir, DATABASE_FILE), url, purpose: "serve", timeoutMs: 10_000 };
  const child = Bun.spawn([process.execPath, CHILD, JSON.stringify(settings), ending], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [stdout] = await Promise.all([child.stdout.text(), child.exited]);
  return { stdout, signal: child.signalCode };
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
      const record = key();
      const older = await database.open();
      await older.insertKey(record);
      await older.close();
      await using sql = beside(database.options);
      await sql`DROP TABLE bodies`;
      await sql`DELETE FROM schema_versions WHERE version > 1`;
      const store = await database.open();
      expect([store.schemaVersion, await store.listKeys()]).toEqual([SCHEMA_VERSION, [record]]);
      expect(await store.findBodies("any")).toBeUndefined();
    });

    test("have indexes for usage by time, and by key and time", async () => {
      await using database = await kind.create();
      await database.open();
      await using sql = beside(database.options);
      const rows: { name: string }[] =
        kind.name === "SQLite"
          ? await sql`SELECT name FROM sqlite_master WHERE type = 'index' AND tbl_name = 'usage' AND sql IS NOT NULL`
          : await sql`SELECT indexname AS name FROM pg_indexes WHERE tablename = 'usage' AND indexdef NOT LIKE '%UNIQUE%'`;
      expect(rows.map(({ name }) => name).toSorted()).toEqual(["usage_by_key_and_time", "usage_by_time"]);
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
