import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { SqliteUsage } from "../../../src/server/store/sqlite-usage.ts";
import { DATABASE_FILE, openStore } from "../../../src/server/store/store.ts";
import {
  KIND_AT,
  REQUEST_NAMES,
  storableBatch,
  usageBatch,
} from "../../../src/server/store/usage-columns.ts";
import { dataFolder, usage } from "./stores.ts";

const DAY_MS = 86_400_000;

/** A file with tables, what adds rows to it, and what looks into it. */
async function start() {
  const folder = dataFolder();
  await (await openStore({ dataDir: folder.dir }, { clock: systemClock })).close();
  const file = join(folder.dir, DATABASE_FILE);
  const added = new SqliteUsage(file, []);
  const seen = new Database(file);
  return {
    added,
    usedDays: () => seen.query("SELECT used_day FROM request_kinds").values().flat(),
    models: () => seen.query("SELECT model FROM usage").values().flat(),
    [Symbol.dispose]() {
      added.close();
      seen.close();
      folder[Symbol.dispose]();
    },
  };
}

const batchOf = (model: string) => storableBatch(usageBatch([usage({ model, at: 0 })]));

describe("Usage in a SQLite file", () => {
  test("notes with the first request of each day that its kind is still in use", async () => {
    using file = await start();
    for (const wall of [5 * DAY_MS, 6 * DAY_MS - 1, 6 * DAY_MS]) file.added.insert(batchOf("m"), wall);
    expect(file.usedDays()).toEqual([6]);
    // Another relay's clock is behind.
    file.added.insert(batchOf("m"), 4 * DAY_MS);
    expect(file.usedDays()).toEqual([6]);
  });

  test("tells the model of a request although the first of its kind could not be stored", async () => {
    using file = await start();
    const spoilt = batchOf("m");
    spoilt.requests[REQUEST_NAMES.indexOf("at")] = null;
    expect(() => file.added.insert(spoilt, 0)).toThrow("NOT NULL");
    expect(spoilt.requests[KIND_AT]).toBe(0);
    expect([file.usedDays(), file.models()]).toEqual([[], []]);
    file.added.insert(batchOf("other"), 0);
    file.added.insert(batchOf("m"), 0);
    expect(file.models()).toEqual(["other", "m"]);
  });

  test("stores on however many kinds there have been", async () => {
    using file = await start();
    const rows = Array.from({ length: 10_002 }, (_, index) => usage({ model: `m${index}`, at: 0 }));
    file.added.insert(storableBatch(usageBatch(rows)), 0);
    file.added.insert(batchOf("m7"), 0);
    expect(file.usedDays()).toHaveLength(10_002);
    expect(file.models().filter((model) => model === "m7")).toHaveLength(2);
  });
});
