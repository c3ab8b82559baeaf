import { afterAll, describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { SQL } from "bun";
import { systemClock } from "../../src/base/clock.ts";
import { SCHEMA_VERSION } from "../../src/server/store/migrations.ts";
import { DATABASE_FILE, openStore } from "../../src/server/store/store.ts";
import { dataFolder, key, sharedPostgres, stopPostgres, usage } from "../server/store/stores.ts";
import { binaryPath } from "../support/binary.ts";
import { lacksPart } from "../support/parts.ts";

const CLI = join(import.meta.dir, "../../src/cli.ts");

async function run(args: string[], program: string[] = [process.execPath, CLI]) {
  const child = Bun.spawn([...program, "db", ...args], {
    // The environment of this test run must not decide what the child reads.
    env: { PATH: process.env["PATH"], HOME: process.env["HOME"] },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, code: await child.exited };
}

/** The database of a relay that runs: open, with something in it. */
async function runningStore(dataDir: string) {
  const store = await openStore({ dataDir }, { clock: systemClock });
  await store.insertKey(key({ name: "known" }));
  await store.insertUsage([usage(), usage()]);
  return store;
}

interface Report {
  checks: { step: string; ok: boolean | null; details: string; action?: string }[];
  [fact: string]: unknown;
}

const verdicts = ({ checks }: Report): Record<string, boolean | null> =>
  Object.fromEntries(checks.map(({ step, ok }) => [step, ok]));

describe("db check", () => {
  test("finds all well beside a relay that runs", async () => {
    using folder = dataFolder();
    await using _ = await runningStore(folder.dir);
    const { stdout, stderr, code } = await run(["check", "--data-dir", folder.dir]);
    expect(
      stdout
        .replace(/\d+(\.\d+)? (B|KiB|MiB|GiB|TiB|ms)\b/g, "N $2")
        .replace(`version ${SCHEMA_VERSION}:`, "version V:"),
    ).toMatch(
      /^ok {4}database {13}\S+: N KiB, N KiB of changes beside it\nok {4}tables {15}version V: as this modelrelay has them\nok {4}integrity {12}every page and index is sound\nok {4}rows {17}keys 1, worker secrets 0, usage 2, bodies 0\nok {4}writing {14}took N ms\nok {4}space {16}N \w+ free on the disk\n$/,
    );
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
  });

  test("prints as JSON what programs ask for", async () => {
    using folder = dataFolder();
    await using _ = await runningStore(folder.dir);
    const { stdout, code } = await run(["check", "--json", "--data-dir", folder.dir]);
    const report = JSON.parse(stdout) as Report;
    expect(report).toMatchObject({
      database: join(folder.dir, DATABASE_FILE),
      schema_version: SCHEMA_VERSION,
      known_version: SCHEMA_VERSION,
      rows: { keys: 1, worker_secrets: 0, usage: 2, bodies: 0 },
    });
    expect([typeof report["database_bytes"], typeof report["free_bytes"], code]).toEqual([
      "number",
      "number",
      0,
    ]);
    expect(Object.keys(verdicts(report))).toEqual([
      "database",
      "tables",
      "integrity",
      "rows",
      "writing",
      "space",
    ]);
  });

  test("ends with 1 and says what to do where there is no database", async () => {
    using folder = dataFolder();
    const { stdout, code } = await run(["check", "--data-dir", folder.dir]);
    expect(stdout).toStartWith(
      `FAIL  database             Cannot find a database: there is no file "${join(folder.dir, DATABASE_FILE)}"\n      → `,
    );
    expect([code, existsSync(join(folder.dir, DATABASE_FILE))]).toEqual([1, false]);
  });

  test("ends with 1 for a file that is no database", async () => {
    using folder = dataFolder();
    writeFileSync(join(folder.dir, DATABASE_FILE), "no database ".repeat(500));
    const { stdout, code } = await run(["check", "--data-dir", folder.dir]);
    expect(stdout).toContain("it is not a SQLite database");
    expect(code).toBe(1);
  });

  test("tells tables of a newer program, and a database that another process has locked", async () => {
    using folder = dataFolder();
    await (await runningStore(folder.dir)).close();
    const holder = new Database(join(folder.dir, DATABASE_FILE));
    holder.run("INSERT INTO schema_versions (version, applied_at) VALUES (9, 0)");
    holder.run("BEGIN IMMEDIATE");
    const { stdout, code } = await run(["check", "--json", "--data-dir", folder.dir]);
    holder.close();
    const report = JSON.parse(stdout) as Report;
    expect(verdicts(report)).toMatchObject({
      database: true,
      tables: false,
      integrity: true,
      rows: true,
      writing: false,
    });
    expect(report.checks.find(({ step }) => step === "writing")?.details).toContain("kept it locked");
    expect(code).toBe(1);
  });
});

describe("db backup", () => {
  test("copies the database beside a relay that runs, and overwrites nothing", async () => {
    using folder = dataFolder();
    await using _ = await runningStore(folder.dir);
    const copy = join(folder.dir, "copy.db");
    const first = await run(["backup", copy, "--data-dir", folder.dir]);
    expect(first.stdout).toMatch(/^\S+copy\.db: \d+ KiB\n$/);
    expect([first.stderr, first.code, statSync(copy).mode & 0o777]).toEqual(["", 0, 0o600]);
    const database = new Database(copy, { readonly: true });
    expect(database.query("SELECT name FROM keys").all()).toEqual([{ name: "known" }]);
    database.close();
    const again = await run(["backup", copy, "--data-dir", folder.dir]);
    expect(again.stderr).toBe(
      `error: Cannot write the backup to "${copy}": there is such a file already\n  → Name another file, or move that one away\n`,
    );
    expect([again.stdout, again.code]).toEqual(["", 1]);
  });

  test("asks for a file", async () => {
    const { stderr, code } = await run(["backup"]);
    expect(stderr).toBe(
      "error: Cannot make a backup: FILE is missing\n  → Write: modelrelay db backup FILE\n",
    );
    expect(code).toBe(2);
  });

  test("refuses an address that is none of PostgreSQL, without showing it", async () => {
    const { stderr, code } = await run(["backup", "x", "--database-url", "mysql://u:hunter2@db"]);
    expect(stderr).toContain("expected an address such as postgres://user:password@host:5432/database");
    expect([stderr.includes("hunter2"), code]).toEqual([false, 2]);
  });
});

describe("The executable", () => {
  test("opens the database in its thread", async () => {
    using folder = dataFolder();
    await using _ = await runningStore(folder.dir);
    const checked = await run(["check", "--json", "--data-dir", folder.dir], [binaryPath()]);
    expect({ stderr: checked.stderr, code: checked.code }).toEqual({ stderr: "", code: 0 });
    expect(JSON.parse(checked.stdout)).toMatchObject({ rows: { keys: 1, usage: 2 } });
    const copy = join(folder.dir, "copy.db");
    expect((await run(["backup", copy, "--data-dir", folder.dir], [binaryPath()])).code).toBe(0);
    expect(existsSync(copy)).toBe(true);
  });
});

describe.skipIf(lacksPart("postgres"))("db with PostgreSQL", () => {
  afterAll(stopPostgres);

  test("checks what is there and makes nothing", async () => {
    const url = await (await sharedPostgres()).createDatabase();
    const { stdout, code } = await run(["check", "--database-url", url, "--json"]);
    expect(verdicts(JSON.parse(stdout) as Report)).toEqual({
      database: true,
      tables: true,
      integrity: null,
      rows: true,
      writing: true,
      space: null,
    });
    expect(code).toBe(0);
    await using sql = new SQL(url);
    expect(await sql`SELECT tablename FROM pg_tables WHERE schemaname = 'public'`).toHaveLength(0);
  });

  test("names pg_dump for backups, and shows no password", async () => {
    const url = (await (await sharedPostgres()).createDatabase()).replace(
      "modelrelay@",
      "modelrelay:hunter2@",
    );
    const { stderr, code } = await run(["backup", "/tmp/no-such-copy", "--database-url", url]);
    expect(stderr).toContain('Write: pg_dump --format=custom --file=/tmp/no-such-copy "$DATABASE_URL"');
    expect([stderr.includes("hunter2"), code]).toEqual([false, 1]);
  });
});
