import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import type { FileOperations } from "../../src/tls/store/file-operations.ts";
import { thisProcess } from "../../src/tls/store/process-identity.ts";
import { openStore, type StoreLock } from "../../src/tls/store/store.ts";
import { ManualClock } from "../support/manual-clock.ts";
import {
  advanceUntil,
  advanceWithout,
  leaseMs,
  leaveLock,
  NAME,
  numbers,
  rig,
  tryMs,
  type Rig,
} from "./lock-rig.ts";
import { wait } from "../../src/base/wait.ts";
import { DEAD_PID, problemOf } from "./store-folder.ts";
import { filesWith, systemError } from "./stopping-files.ts";

describe("A lock", () => {
  test("is had at once, given back, and had again", async () => {
    using it = rig();
    const store = it.store();
    for (let round = 0; round < 3; round++) {
      const lock = await store.lock(NAME);
      await lock.release();
      await lock.release();
      expect(lock.lost.aborted).toBe(false);
    }
    expect(it.clock.pending).toEqual([]);
  });

  test("keeps others waiting until it is given back, and locks of other names free", async () => {
    using it = rig();
    const first = await it.store().lock(NAME);
    const second = it.store().lock(NAME);
    await (await it.store().lock("other.example.com")).release();
    await advanceWithout(it, second, 4 * leaseMs);
    await first.release();
    expect(await advanceUntil(it, second)).toBeLessThanOrEqual(2 * tryMs);
    await (await second).release();
  });

  test("is given back at the end of a block, whatever happened in it", async () => {
    using it = rig();
    const work = async (): Promise<void> => {
      await using lock = await it.store().lock(NAME);
      expect(lock.lost.aborted).toBe(false);
      throw new Error("fails");
    };
    await work().catch(() => {});
    await (await it.store().lock(NAME)).release();
  });

  test("is no longer waited for once the signal is aborted", async () => {
    using it = rig();
    const first = await it.store().lock(NAME);
    const stop = new AbortController();
    const second = it.store().lock(NAME, stop.signal);
    await it.settle();
    stop.abort(new Error("enough"));
    expect(await second.catch((error: unknown) => error)).toEqual(new Error("enough"));
    expect(
      await it
        .store()
        .lock(NAME, stop.signal)
        .catch((error: unknown) => error),
    ).toEqual(new Error("enough"));
    await first.release();
    expect(it.clock.pending).toEqual([]);
  });

  test("leaves few files behind, however often it is taken", async () => {
    using it = rig();
    const store = it.store();
    for (let round = 0; round < 40; round++) await (await store.lock(NAME)).release();
    expect(numbers(it).at(-1)).toBe(40);
    expect(numbers(it).length).toBeLessThanOrEqual(9);
  });

  test("is a problem where its folder cannot be written", async () => {
    using it = rig();
    const files = filesWith({ createFile: () => Promise.reject(systemError("EROFS")) });
    expect((await problemOf(it.store({ files }).lock(NAME))).message).toContain("read-only");
  });
});

describe("A dead holder's lock", () => {
  test("is taken at once if the process has ended on this host", async () => {
    using it = rig();
    leaveLock(it, { ...thisProcess(), pid: DEAD_PID });
    await (await it.store().lock(NAME)).release();
    expect(numbers(it)).toEqual([1, 2]);
  });

  // Elsewhere nothing tells one process of a number from the next.
  if (process.platform === "linux") {
    test("is taken at once if its process number belongs to another process now", async () => {
      using it = rig();
      leaveLock(it, { ...thisProcess(), startedAt: "1" });
      await (await it.store().lock(NAME)).release();
    });
  }

  test("is kept for a process of this host that lives, and then for a lease", async () => {
    using it = rig();
    leaveLock(it, { ...thisProcess() });
    const lock = it.store().lock(NAME);
    await advanceWithout(it, lock, leaseMs - 8 * tryMs);
    await advanceUntil(it, lock, leaseMs);
    await (await lock).release();
  });

  test.each([
    ["of another host", "another", leaseMs],
    ["that was killed before it had written its name", "empty", leaseMs / 15],
    ["whose file is no record", "damaged", leaseMs],
  ])("%s is taken when it was silent for a while, and not before", async (_, kind, silentMs) => {
    using it = rig();
    leaveLock(it, { host: "another", pid: 1 });
    const [name = ""] = readdirSync(it.locks);
    if (kind !== "another") writeFileSync(join(it.locks, name), kind === "empty" ? "" : '{"released":tr');
    const lock = it.store().lock(NAME);
    await it.settle();
    await advanceWithout(it, lock, silentMs - 4 * tryMs);
    await advanceUntil(it, lock, silentMs);
    await (await lock).release();
  });

  test("goes to exactly one of many that wait for it, round after round", async () => {
    for (let round = 0; round < 10; round++) {
      using it = rig();
      leaveLock(it, { ...thisProcess(), pid: DEAD_PID });
      let inside = 0;
      let most = 0;
      const takers = Array.from({ length: 12 }, async () => {
        await using lock = await it.store().lock(NAME);
        most = Math.max(most, ++inside);
        // By the clock: whoever moves it waits for quiet as well, and two who do that keep each other waiting.
        await wait(it.clock, 2 * tryMs);
        expect(lock.lost.aborted).toBe(false);
        inside -= 1;
      });
      await advanceUntil(it, Promise.all(takers), 100 * leaseMs);
      expect([most, inside]).toEqual([1, 0]);
    }
  });
});

describe("A process that is slow between its look and its step", () => {
  test("does not get a lock that went through many hands meanwhile", async () => {
    using it = rig();
    const { createFile } = it.files;
    const gate = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    const files: FileOperations = {
      ...it.files,
      createFile: async (path, mode) => {
        reached.resolve();
        await gate.promise;
        return await createFile(path, mode);
      },
    };
    await (await it.store().lock(NAME)).release();
    const slow = it.store({ files }).lock(NAME);
    await reached.promise;
    for (let round = 0; round < 15; round++) await (await it.store().lock(NAME)).release();
    const held = await it.store().lock(NAME);
    // The number that the slow process saw next is free again: nobody stops it from creating the file.
    expect(numbers(it)).not.toContain(2);
    gate.resolve();
    await it.settle();
    expect(numbers(it)).toContain(2);
    await advanceWithout(it, slow, 2 * leaseMs);
    expect(held.lost.aborted).toBe(false);
    await held.release();
    await advanceUntil(it, slow);
    await (await slow).release();
  });
});

describe("A lease", () => {
  test("is renewed for as long as the holder lives, so that another host waits", async () => {
    using it = rig();
    const held = await it.store().lock(NAME);
    const waiter = it.store({ host: "another" }).lock(NAME);
    await advanceWithout(it, waiter, 5 * leaseMs);
    expect(held.lost.aborted).toBe(false);
    await held.release();
    await advanceUntil(it, waiter);
    await (await waiter).release();
  });

  test.each([
    ["forward", 400 * 86_400_000],
    ["back", -400 * 86_400_000],
  ])("is not cut short by a wall clock that jumps %s", async (_, jump) => {
    using it = rig();
    const held = await it.store().lock(NAME);
    const waiter = it.store({ host: "another" }).lock(NAME);
    await advanceWithout(it, waiter, leaseMs);
    it.clock.jump = jump;
    await advanceWithout(it, waiter, 2 * leaseMs);
    expect(held.lost.aborted).toBe(false);
    await held.release();
    await advanceUntil(it, waiter);
    await (await waiter).release();
  });

  /** A holder that sleeps: its clock stands still, while the others' goes on. */
  async function overtaken(it: Rig): Promise<{ slept: StoreLock; sleeper: ManualClock; taker: StoreLock }> {
    const sleeper = new ManualClock();
    const slept = await openStore(it.dir, sleeper, { files: it.files }).lock(NAME);
    const taker = it.store({ host: "another" }).lock(NAME);
    await it.settle();
    await advanceUntil(it, taker, 2 * leaseMs);
    return { slept, sleeper, taker: await taker };
  }

  test("that ran out while the holder slept is noticed when it wakes, and nothing of the new holder is touched", async () => {
    using it = rig();
    const { slept, sleeper, taker } = await overtaken(it);
    expect(slept.lost.aborted).toBe(false);
    const [, theirs = ""] = readdirSync(it.locks).sort();
    const before = readFileSync(join(it.locks, theirs), "utf8");
    sleeper.advance(leaseMs / 3);
    await it.settle();
    expect(slept.lost.aborted).toBe(true);
    expect(slept.lost.reason).toBeInstanceOf(Problem);
    await slept.release();
    expect(readFileSync(join(it.locks, theirs), "utf8")).toBe(before);
    expect(taker.lost.aborted).toBe(false);
    expect(sleeper.pending).toEqual([]);
    await taker.release();
  });

  test("that ran out does not let the old holder give the new one's lock away", async () => {
    using it = rig();
    const { slept, taker } = await overtaken(it);
    await slept.release();
    const third = it.store().lock(NAME);
    await advanceWithout(it, third, 2 * leaseMs);
    await taker.release();
    await advanceUntil(it, third);
    await (await third).release();
  });

  test("is lost with the lock's file", async () => {
    using it = rig();
    const lock = await it.store().lock(NAME);
    rmSync(it.locks, { recursive: true });
    await advanceUntil(it, new Promise((resolve) => lock.lost.addEventListener("abort", resolve)));
    await lock.release();
  });

  test("outlives a disk that fails for a moment, but not one that fails for a lease", async () => {
    using it = rig();
    let broken = false;
    const { list } = it.files;
    const files = {
      ...it.files,
      list: (path: string) => (broken ? Promise.reject(systemError("EIO")) : list(path)),
    };
    const lock = await it.store({ files }).lock(NAME);
    broken = true;
    for (let beat = 0; beat < 2; beat++) {
      it.clock.advance(leaseMs / 3);
      await it.settle();
    }
    expect(lock.lost.aborted).toBe(false);
    broken = false;
    it.clock.advance(leaseMs / 3);
    await it.settle();
    broken = true;
    expect(lock.lost.aborted).toBe(false);
    await advanceUntil(it, new Promise((resolve) => lock.lost.addEventListener("abort", resolve)));
    await lock.release();
  });
});
