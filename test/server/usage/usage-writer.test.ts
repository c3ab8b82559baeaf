import { describe, expect, test } from "bun:test";
import { appendFileSync, existsSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { silentLog, type Log } from "../../../src/base/log.ts";
import { UsageSpool } from "../../../src/server/usage/usage-spool.ts";
import { UsageWriter } from "../../../src/server/usage/usage-writer.ts";
import { TempDir } from "../../commands/reading.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { seeded } from "./recorded.ts";
import { row, rows, turnsUntil } from "./rows.ts";

class WriterRig implements Disposable {
  readonly dir = new TempDir();
  readonly clock = new ManualClock();
  readonly store = new MemoryUsageStore();
  readonly path = join(this.dir.path, "spool.jsonl");
  readonly lines: string[] = [];

  writer(limit?: number, path = this.path): UsageWriter {
    const log: Log = {
      ...silentLog,
      warn: (message) => void this.lines.push(`warn ${message}`),
      info: (message) => void this.lines.push(`info ${message}`),
      error: (message) => void this.lines.push(`error ${message}`),
    };
    const spool = new UsageSpool(path, limit);
    return new UsageWriter({ store: this.store, spool, clock: this.clock, log, random: () => 0 });
  }

  /** Ids of the rows in the spool that are whole. */
  get spooled(): string[] {
    if (!existsSync(this.path)) return [];
    return readFileSync(this.path, "utf8")
      .split("\n")
      .flatMap((line) => /^\{"id":"(\w+)".*\}$/.exec(line)?.[1] ?? []);
  }

  get stored(): string[] {
    return [...this.store.rows.keys()];
  }

  refuse(reason = "it is gone"): void {
    this.store.before = () => {
      throw new Error(reason);
    };
  }

  recover(): void {
    this.store.before = () => {};
  }

  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }
}

const ids = (all: { id: string }[]) => all.map(({ id }) => id);

describe("UsageWriter", () => {
  test("writes rows together, half a second after the first", async () => {
    using rig = new WriterRig();
    const writer = rig.writer();
    writer.add(row("a"));
    rig.clock.advance(499);
    writer.add(row("b"));
    expect(rig.store.batches).toEqual([]);
    rig.clock.advance(1);
    await turnsUntil(() => rig.stored.length === 2);
    expect([rig.store.batches, rig.clock.pending]).toEqual([[2], []]);
    writer.add(row("c"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.stored.length === 3);
    expect(existsSync(rig.path)).toBe(false);
  });

  test("writes 500 rows at once, and what comes meanwhile after them", async () => {
    using rig = new WriterRig();
    const writer = rig.writer();
    for (const each of rows(1_300)) writer.add(each);
    await turnsUntil(() => rig.stored.length === 1_300);
    expect(rig.store.batches).toEqual([500, 500, 300]);
  });

  test("puts rows into the spool when the database fails, without asking it for each batch", async () => {
    using rig = new WriterRig();
    rig.refuse();
    const writer = rig.writer();
    writer.add(row("a"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 1);
    expect(statSync(rig.path).mode & 0o777).toBe(0o600);
    expect(writer.warnings()).toEqual([
      expect.stringMatching(/^usage waits to be stored \(.*\): it is gone$/),
    ]);
    expect(rig.lines).toEqual(["warn Usage cannot be stored, and waits in a file"]);
    writer.add(row("b"));
    const asked = rig.store.batches.length;
    for (const each of rows(500)) writer.add(each);
    await turnsUntil(() => rig.spooled.length === 502);
    expect(rig.store.batches).toHaveLength(asked);
  });

  test("stores what is in the spool when the database is back, once, and says so", async () => {
    using rig = new WriterRig();
    rig.refuse();
    const writer = rig.writer();
    for (const each of rows(1_200)) writer.add(each);
    await turnsUntil(() => rig.spooled.length === 1_200);
    rig.clock.advance(1_000);
    await turnsUntil(() => rig.store.batches.length === 2 && rig.clock.pending.length > 0);
    rig.recover();
    rig.clock.advance(11_000);
    await turnsUntil(() => rig.stored.length === 1_200 && writer.warnings().length === 0);
    expect(new Set(rig.stored)).toEqual(new Set(ids(rows(1_200))));
    expect(statSync(rig.path).size).toBe(0);
    expect(rig.lines.at(-1)).toBe("info Usage is stored again");
    writer.add(row("later"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.store.rows.has("later"));
    expect(rig.spooled).toEqual([]);
  });

  test("puts rows into the spool when the database takes long, also if it has taken them in the end", async () => {
    using rig = new WriterRig();
    const answer = Promise.withResolvers<void>();
    rig.store.before = () => answer.promise;
    const writer = rig.writer();
    writer.add(row("a"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.store.batches.length === 1);
    writer.add(row("b"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 2);
    expect(writer.warnings()[0]).toContain("the database takes long");
    rig.recover();
    answer.resolve();
    await turnsUntil(() => rig.store.rows.has("a"));
    rig.clock.advance(2_000);
    await turnsUntil(() => writer.warnings().length === 0);
    expect(rig.stored).toEqual(["a", "b"]);
  });

  test("keeps rows safe while an attempt to store the spool hangs", async () => {
    using rig = new WriterRig();
    rig.refuse();
    const writer = rig.writer();
    writer.add(row("a"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 1 && rig.clock.pending.length > 0);
    const answer = Promise.withResolvers<void>();
    rig.store.before = () => answer.promise;
    rig.clock.advance(2_000);
    await turnsUntil(() => rig.store.batches.length === 2);
    writer.add(row("b"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 2);
    rig.recover();
    answer.resolve();
    await turnsUntil(() => rig.stored.length === 2 && writer.warnings().length === 0);
  });

  test("stores what an earlier process has left, but for a line that it was killed in", async () => {
    using rig = new WriterRig();
    await new UsageSpool(rig.path).append(rows(3));
    appendFileSync(rig.path, JSON.stringify(row("torn")).slice(0, 90));
    const writer = rig.writer();
    await writer.start();
    await turnsUntil(() => writer.warnings().length === 0);
    expect(rig.stored).toEqual(["r0", "r1", "r2"]);
    expect([statSync(rig.path).size, writer.warnings()]).toEqual([0, []]);
  });

  test("writes behind a line that was torn", async () => {
    using rig = new WriterRig();
    appendFileSync(rig.path, '{"id":"torn","at":1');
    rig.refuse();
    const writer = rig.writer();
    writer.add(row("a"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 1);
    rig.recover();
    rig.clock.advance(2_000);
    await turnsUntil(() => writer.warnings().length === 0);
    expect(rig.stored).toEqual(["a"]);
  });

  test.each([
    ["emptied", (path: string) => writeFileSync(path, "")],
    ["removed", (path: string) => rmSync(path)],
  ])("goes on after the spool was %s by somebody else", async (_, lose) => {
    using rig = new WriterRig();
    rig.refuse();
    const writer = rig.writer();
    for (const one of rows(20)) writer.add(one);
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 20);
    lose(rig.path);
    writer.add(row("later"));
    rig.clock.advance(500);
    await turnsUntil(() => rig.spooled.length === 1);
    rig.recover();
    await turnsUntil(() => {
      rig.clock.advance(100);
      return rig.stored.length > 0 && writer.warnings().length === 0;
    });
    expect([rig.stored, statSync(rig.path).size]).toEqual([["later"], 0]);
  });

  test("stores what is behind a line that is no whole row", async () => {
    using rig = new WriterRig();
    const { model: _, ...half } = row("half");
    writeFileSync(rig.path, `{"id":"x","at":1}\n${JSON.stringify(half)}\n${JSON.stringify(row("a"))}\n`);
    const writer = rig.writer();
    await writer.start();
    await turnsUntil(() => writer.warnings().length === 0);
    expect([rig.stored, statSync(rig.path).size]).toEqual([["a"], 0]);
  });

  test("keeps the rows that another relay has written to the same spool", async () => {
    using rig = new WriterRig();
    const [one, other] = [new UsageSpool(rig.path), new UsageSpool(rig.path)];
    await one.append([row("a")]);
    const page = await one.next();
    await other.append([row("b")]);
    await one.stored(page.end);
    expect(ids((await one.next()).rows)).toEqual(["b"]);
    await one.stored((await one.next()).end);
    expect([one.waiting, await other.next()]).toEqual([0, { rows: [], end: 0 }]);
  });

  test("has nothing to store once its spool was removed by somebody else", async () => {
    using rig = new WriterRig();
    const spool = new UsageSpool(rig.path);
    await spool.append(rows(3));
    rmSync(rig.path);
    expect([await spool.next(), spool.waiting]).toEqual([{ rows: [], end: 0 }, 0]);
  });

  test("keeps the spool within its bound, and says what is lost", async () => {
    using rig = new WriterRig();
    rig.refuse();
    const limit = 10 * (JSON.stringify(row("r000")).length + 1);
    const writer = rig.writer(limit);
    for (const each of rows(500)) writer.add(each);
    await turnsUntil(() => writer.warnings().length === 2);
    expect(statSync(rig.path).size).toBeLessThanOrEqual(limit);
    const kept = rig.spooled.length;
    expect(kept).toBeGreaterThanOrEqual(10);
    expect(writer.warnings()[1]).toContain(`usage of ${500 - kept} requests is lost`);
    expect(rig.lines.filter((line) => line.startsWith("error"))).toHaveLength(1);
    rig.recover();
    rig.clock.advance(2_000);
    await turnsUntil(() => writer.warnings().length === 0);
    expect(rig.stored).toHaveLength(kept);
  });

  test("holds rows in memory while neither takes them, up to a bound", async () => {
    using rig = new WriterRig();
    rig.refuse();
    // A file where a directory should be.
    const inTheWay = join(rig.dir.path, "taken");
    writeFileSync(inTheWay, "");
    const missing = join(inTheWay, "spool.jsonl");
    const writer = rig.writer(undefined, missing);
    for (const each of rows(20_900)) writer.add(each);
    rig.clock.advance(500);
    await turnsUntil(() => writer.warnings().length === 2);
    expect(writer.warnings()[1]).toMatch(/^usage of 500 requests is lost/);
    rmSync(inTheWay);
    rig.recover();
    for (let n = 0; n < 1_000 && rig.stored.length < 20_400; n++) {
      rig.clock.advance(1_000);
      for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
    }
    expect(rig.stored).toHaveLength(20_400);
  });

  test("writes what is there when it is closed: to the database, or to the spool", async () => {
    using rig = new WriterRig();
    const first = rig.writer();
    first.add(row("a"));
    await first.close();
    expect([rig.stored, rig.clock.pending]).toEqual([["a"], []]);
    rig.refuse();
    const second = rig.writer();
    second.add(row("b"));
    await second.close();
    expect([rig.stored, rig.spooled, rig.clock.pending]).toEqual([["a"], ["b"], []]);
  });

  for (let seed = 1; seed <= 12; seed++) {
    test(`loses no row and stores none twice, whatever the database does (seed ${seed})`, async () => {
      using rig = new WriterRig();
      const random = seeded(seed);
      const added = new Map<string, number>();
      const answers: (() => void)[] = [];
      rig.store.before = (batch) => {
        const dice = random();
        if (dice < 0.3) throw new Error("refused");
        // It was stored, and the answer was lost.
        if (dice < 0.5) {
          for (const each of batch) if (!rig.store.rows.has(each.id)) rig.store.rows.set(each.id, each);
          throw new Error("the connection broke");
        }
        if (dice < 0.7) return new Promise((resolve) => answers.push(resolve));
        return undefined;
      };
      let writer = rig.writer();
      for (let step = 0; step < 60; step++) {
        for (let n = Math.floor(random() * 300); n > 0; n--) {
          const id = `s${step}n${n}`;
          added.set(id, rig.clock.now());
          writer.add(row(id));
        }
        rig.clock.advance(Math.floor(random() * 200));
        for (let turn = 0; turn < 300; turn++) await new Promise((resolve) => setImmediate(resolve));
        if (random() < 0.3) answers.shift()?.();
        // Killed: a new one finds what is in the file, and what was not written yet is gone.
        if (random() < 0.1) {
          const safe = new Set([...rig.stored, ...rig.spooled]);
          for (const [id, at] of added) {
            if (safe.has(id)) continue;
            expect(rig.clock.now() - at).toBeLessThan(2_000);
            added.delete(id);
          }
          for (const answer of answers.splice(0)) answer();
          const closing = { done: false };
          void writer.close().then(() => (closing.done = true));
          while (!closing.done) {
            rig.clock.advance(100);
            await new Promise((resolve) => setImmediate(resolve));
          }
          for (const id of [...rig.stored, ...rig.spooled]) added.set(id, added.get(id) ?? 0);
          writer = rig.writer();
          void writer.start();
        }
      }
      rig.recover();
      for (const answer of answers.splice(0)) answer();
      for (let n = 0; n < 1_000 && rig.stored.length < added.size; n++) {
        rig.clock.advance(1_000);
        for (let turn = 0; turn < 100; turn++) await new Promise((resolve) => setImmediate(resolve));
      }
      expect(new Set(rig.stored)).toEqual(new Set(added.keys()));
      await writer.close();
    });
  }
});
