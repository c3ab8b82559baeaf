import { systemClock } from "../../../src/base/clock.ts";
import type { Migration } from "../../../src/server/store/migrations.ts";
import { migrate } from "../../../src/server/store/schema.ts";
import { PostgresDatabase } from "../../../src/server/store/postgres-database.ts";
import { SqliteDatabase } from "../../../src/server/store/sqlite-database.ts";
import type { DatabaseSettings } from "../../../src/server/store/database.ts";

// A process that brings tables up to date, and is killed within the last step if it is told so:
// migration-child.ts SETTINGS kill|finish

const settings = JSON.parse(process.argv[2] ?? "{}") as DatabaseSettings;
const isKilled = process.argv[3] === "kill";

/** Steps that are the same as those of the test, but for what happens within the last one. */
const steps: Migration[] = [
  { version: 1, statements: () => ["CREATE TABLE first (a INTEGER)", "INSERT INTO first (a) VALUES (1)"] },
  {
    version: 2,
    *statements() {
      yield "CREATE TABLE second (a INTEGER)";
      yield "INSERT INTO second (a) SELECT a FROM first";
      if (isKilled) process.kill(process.pid, "SIGKILL");
      yield "INSERT INTO first (a) VALUES (2)";
    },
  },
];

const { url } = settings;
const tools = { clock: systemClock };
const database =
  url === undefined ? new SqliteDatabase(settings, tools) : new PostgresDatabase(url, settings, tools);
const version = await migrate(database, systemClock, AbortSignal.timeout(20_000), steps);
process.stdout.write(`version ${version}\n`);
await database.close();
