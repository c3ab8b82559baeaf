import { describe, expect, test } from "bun:test";
import { existsSync, readdirSync, writeFileSync } from "node:fs";
import { silentLog } from "../../../src/base/log.ts";
import { startUsage } from "../../../src/server/usage/index.ts";
import { spoolFile } from "../../../src/server/usage/spool-files.ts";
import type { UsageRow } from "../../../src/server/usage/usage-store.ts";
import { TempDir } from "../../commands/reading.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { rows, turnsUntil } from "../usage/rows.ts";

const ids = (store: MemoryUsageStore) => [...store.rows.keys()].toSorted();

function leave(path: string, left: UsageRow[]): void {
  writeFileSync(path, left.map((row) => `${JSON.stringify(row)}\n`).join(""));
}

async function started(dataDir: string, generation: number) {
  const clock = new ManualClock();
  const store = new MemoryUsageStore();
  const usage = await startUsage({
    store,
    dataDir,
    generation,
    keepMs: 3_600_000,
    clock,
    log: silentLog,
    random: () => 0,
  });
  return { clock, store, usage };
}

/** Lets the time pass until so many rows are stored. */
async function stored({ clock, store }: Awaited<ReturnType<typeof started>>, count: number): Promise<void> {
  while (store.rows.size < count) {
    await turnsUntil(() => clock.pending.length > 0);
    clock.advance(1_000);
    for (let turn = 0; turn < 50; turn++) await new Promise((resolve) => setImmediate(resolve));
  }
}

describe("Usage that waits for the database", () => {
  test("waits in a file of its own for each process", () => {
    const files = [0, 1, 2].map((generation) => spoolFile("/data", generation));
    expect(files).toEqual([
      "/data/usage-spool.jsonl",
      "/data/usage-spool-1.jsonl",
      "/data/usage-spool-2.jsonl",
    ]);
  });

  test("is stored by the process that took the place, once, and its file goes away", async () => {
    using dir = new TempDir();
    leave(spoolFile(dir.path, 0), rows(1_500));
    const heir = await started(dir.path, 1);
    expect(heir.store.rows.size).toBe(0);
    await heir.usage.inherit();
    await stored(heir, 1_500);
    expect(ids(heir.store)).toEqual(
      rows(1_500)
        .map(({ id }) => id)
        .toSorted(),
    );
    await heir.usage.close();
    expect(readdirSync(dir.path)).toEqual(["usage-spool-1.jsonl"]);
  });

  test("is left alone while its process lives", async () => {
    using dir = new TempDir();
    leave(spoolFile(dir.path, 0), rows(3));
    const heir = await started(dir.path, 1);
    heir.clock.advance(60_000);
    await heir.usage.close();
    expect([heir.store.rows.size, existsSync(spoolFile(dir.path, 0))]).toEqual([0, true]);
  });

  test("of processes that nobody followed is found by the next start, also where a move was cut short", async () => {
    using dir = new TempDir();
    leave(spoolFile(dir.path, 0), rows(2, "a"));
    leave(spoolFile(dir.path, 3), rows(2, "b"));
    leave(`${spoolFile(dir.path, 7)}.passing`, rows(2, "c"));
    const next = await started(dir.path, 0);
    await stored(next, 6);
    expect(ids(next.store)).toEqual(["a0", "a1", "b0", "b1", "c0", "c1"]);
    await next.usage.close();
    expect(readdirSync(dir.path)).toEqual(["usage-spool.jsonl"]);
  });

  test("is nothing that a process without a predecessor's file has to mind", async () => {
    using dir = new TempDir();
    const heir = await started(dir.path, 1);
    await heir.usage.inherit();
    await heir.usage.close();
    expect(heir.store.rows.size).toBe(0);
  });
});
