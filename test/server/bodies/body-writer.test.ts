import { describe, expect, test } from "bun:test";
import { silentLog, type Log } from "../../../src/base/log.ts";
import { BodyWriter } from "../../../src/server/bodies/body-writer.ts";
import { ByteBudget } from "../../../src/server/byte-budget.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryBodyStore } from "../../support/memory-body-store.ts";
import { turnsUntil } from "../usage/rows.ts";

const MIB = 1024 * 1024;

function writerRig() {
  const clock = new ManualClock();
  const store = new MemoryBodyStore();
  const budget = new ByteBudget(64 * MIB);
  const lines: unknown[] = [];
  const note =
    (level: string) =>
    (message: string, fields: object = {}): void =>
      void lines.push([level, message, fields]);
  const log: Log = { ...silentLog, warn: note("warn"), info: note("info"), error: note("error") };
  const writer = new BodyWriter({ store, budget, clock, log, random: () => 0 });
  const add = (id: string, size = 10): void => {
    budget.take(size);
    const kept = new Uint8Array(size);
    const nothing = { kept: new Uint8Array(0), bytes: 0 };
    writer.add(id, 7, { request: { kept, bytes: size }, answer: nothing, held: size });
  };
  const idle = () => clock.pending.length === 0;
  return { clock, store, budget, lines, writer, add, idle };
}

describe("BodyWriter", () => {
  test("writes bodies together, half a second after the first, and gives their memory back", async () => {
    const { clock, store, budget, add, writer } = writerRig();
    add("a");
    clock.advance(499);
    add("b");
    expect([store.batches, budget.held]).toEqual([[], 20]);
    clock.advance(1);
    await turnsUntil(() => budget.held === 0);
    expect([store.batches, [...store.rows.keys()], clock.pending, writer.warnings()]).toEqual([
      [2],
      ["a", "b"],
      [],
      [],
    ]);
    expect(store.rows.get("a")).toMatchObject({ id: "a", at: 7, request: { bytes: 10 } });
  });

  test("writes a MiB at once, in messages of that size or of one row, and of 200 rows at most", async () => {
    const { store, budget, add, clock } = writerRig();
    for (let n = 0; n < 3; n++) add(`large ${n}`, 600 * 1024);
    await turnsUntil(() => store.batches.length === 1);
    add("huge", 2 * MIB);
    for (let n = 0; n < 250; n++) add(`small ${n}`);
    await turnsUntil(() => budget.held === 0);
    expect(store.batches).toEqual([1, 1, 1, 1, 200, 50]);
    clock.advance(500);
    await turnsUntil(() => clock.pending.length === 0);
    add("later");
    await turnsUntil(() => clock.pending.length === 1);
    expect([store.batches.length, clock.pending]).toEqual([6, [500]]);
  });

  test("holds bodies while the database takes none, tries again, and says so once", async () => {
    const { clock, store, budget, lines, writer, add } = writerRig();
    store.before = () => {
      throw new Error("it is gone");
    };
    add("a");
    clock.advance(500);
    await turnsUntil(() => writer.warnings().length > 0);
    expect(writer.warnings()).toEqual(["bodies of 1 requests wait to be stored: it is gone"]);
    add("b", 2 * MIB);
    clock.advance(999);
    expect([store.batches, clock.pending]).toEqual([[1], [1]]);
    clock.advance(1);
    await turnsUntil(() => store.batches.length === 2 && clock.pending.length === 1);
    store.before = () => {};
    clock.advance(1_000);
    await turnsUntil(() => budget.held === 0);
    expect([[...store.rows.keys()], writer.warnings()]).toEqual([["a", "b"], []]);
    expect(lines).toEqual([
      ["warn", "Bodies of requests cannot be stored, and wait in memory", { reason: "it is gone" }],
      ["info", "Bodies of requests are stored again", { requests: 2, lost: 0 }],
    ]);
  });

  test("counts what found no room, until the database takes what waits", async () => {
    const { clock, store, lines, writer, add, budget } = writerRig();
    store.before = () => {
      throw new Error("it is gone");
    };
    add("a");
    clock.advance(500);
    await turnsUntil(() => writer.warnings().length > 0);
    for (let n = 0; n < 3; n++) writer.lose();
    expect(writer.warnings()[1]).toBe("bodies of 3 requests are lost");
    expect(lines.filter((line) => (line as string[])[0] === "error")).toHaveLength(1);
    store.before = () => {};
    clock.advance(1_000);
    await turnsUntil(() => budget.held === 0 && writer.warnings().length === 0);
    expect(lines.at(-1)).toEqual(["info", "Bodies of requests are stored again", { requests: 1, lost: 3 }]);
  });

  test("writes what waits when it is closed", async () => {
    const { clock, store, writer, add } = writerRig();
    add("a");
    await writer.close();
    expect([[...store.rows.keys()], clock.pending]).toEqual([["a"], []]);
    await writer.close();
    expect(store.batches).toEqual([1]);
  });

  test("waits at its end for no database that has failed already, and says what is gone", async () => {
    const { clock, store, budget, lines, writer, add } = writerRig();
    store.before = () => {
      throw new Error("it is gone");
    };
    add("a");
    clock.advance(500);
    await turnsUntil(() => writer.warnings().length > 0);
    add("b");
    await writer.close();
    expect([store.batches, budget.held, clock.pending]).toEqual([[1], 0, []]);
    expect(lines.at(-1)).toEqual([
      "warn",
      "Bodies of requests could not be stored before the end",
      { requests: 2 },
    ]);
  });
});
