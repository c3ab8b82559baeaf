import { expect, test } from "bun:test";
import { join } from "node:path";
import { silentLog } from "../../../src/base/log.ts";
import { UsageSpool } from "../../../src/server/usage/usage-spool.ts";
import { UsageWriter } from "../../../src/server/usage/usage-writer.ts";
import { TempDir } from "../../commands/reading.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { rows, turnsUntil } from "./rows.ts";

test("What is lost of usage stays counted when the database is back", async () => {
  using dir = new TempDir();
  const clock = new ManualClock();
  const store = new MemoryUsageStore();
  const spool = new UsageSpool(join(dir.path, "spool.jsonl"), 1_000);
  const writer = new UsageWriter({ store, spool, clock, log: silentLog, random: () => 0 });
  store.before = () => {
    throw new Error("it is gone");
  };
  for (const row of rows(500)) writer.add(row);
  await turnsUntil(() => writer.warnings().length === 2);
  store.before = () => {};
  clock.advance(2_000);
  await turnsUntil(() => writer.warnings().length === 0);
  expect(store.rows.size).toBeGreaterThan(0);
  expect(writer.backlog()).toEqual({ bytes: 0, lost: 500 - store.rows.size });
  await writer.close();
});
