import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, statfsSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import type { CreatedFile } from "../../src/tls/store/file-operations.ts";
import { openStore } from "../../src/tls/store/store.ts";
import { DOMAIN, filesBelow, otherPair, pair, problemOf, storeFolder } from "./store-folder.ts";
import { filesWith, systemError } from "./stopping-files.ts";

/** Real files, but for writing what is in them. */
function filesThatRefuse(step: keyof CreatedFile, code: string) {
  const { createFile } = filesWith({});
  return filesWith({
    createFile: async (path, mode) => ({
      ...(await createFile(path, mode)),
      [step]: () => Promise.reject(systemError(code)),
    }),
  });
}

describe("prove()", () => {
  test("makes the folders, and leaves no file", async () => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock);
    await store.prove();
    await store.prove();
    expect(filesBelow(folder.dir)).toEqual([]);
  });

  test.each([
    ["write", "ENOSPC", "the disk is full", "Free space"],
    ["sync", "ENOSPC", "the disk is full", "Free space"],
    ["write", "EDQUOT", "this user's quota is used up", "quota"],
    ["sync", "EIO", "the disk reports an error", "system's log"],
  ] as const)("says it when %s ends with %s", async (step, code, why, action) => {
    using folder = storeFolder();
    const store = openStore(folder.dir, systemClock, { files: filesThatRefuse(step, code) });
    const problem = await problemOf(store.prove());
    expect(problem.message).toBe(`Cannot write "${folder.dir}": ${why}`);
    expect(problem.action).toContain(action);
    expect(filesBelow(folder.dir)).toEqual([]);
  });

  test.each([
    ["EROFS", "the file system is mounted read-only", "ReadWritePaths="],
    ["EACCES", "may not do that there", "Give the directory to the user who runs the relay"],
    ["EPERM", "may not do that there", "Give the directory to the user who runs the relay"],
    ["EMFILE", "too many files open", "LimitNOFILE="],
    ["EWEIRD", "the system's own words", "--data-dir"],
  ])("says it when no file can be created: %s", async (code, why, action) => {
    using folder = storeFolder();
    const files = filesWith({ createFile: () => Promise.reject(systemError(code)) });
    const problem = await problemOf(openStore(folder.dir, systemClock, { files }).prove());
    expect(problem.message).toStartWith(`Cannot write "${folder.dir}"`);
    expect(problem.message).toContain(why);
    expect(problem.action).toContain(action);
  });

  test("says which file stands where a folder is needed", async () => {
    using folder = storeFolder();
    mkdirSync(join(folder.dir, "../.."), { recursive: true });
    writeFileSync(join(folder.dir, ".."), "");
    const problem = await problemOf(openStore(folder.dir, systemClock).prove());
    expect(problem.message).toContain("a file stands where a folder is needed");
  });
});

/** A small file system of its own, where this user may mount one. */
function mountSmall(): ({ dir: string; remount(option: string): void } & Disposable) | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return undefined;
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-disk-"));
  const mount = (...args: string[]): boolean => spawnSync("mount", [...args, dir]).status === 0;
  if (!mount("-t", "tmpfs", "-o", "size=256k,mode=700", "tmpfs")) {
    rmSync(dir, { recursive: true });
    return undefined;
  }
  return {
    dir,
    remount(option) {
      if (!mount("-o", `remount,${option}`)) throw new Error(`Cannot remount ${dir}`);
    },
    [Symbol.dispose]() {
      spawnSync("umount", [dir]);
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** Leaves this many bytes free. */
function fill(dir: string, left: number): void {
  const { bavail, bsize } = statfsSync(dir);
  writeFileSync(join(dir, "filler"), new Uint8Array(bavail * bsize - left));
}

using probe = mountSmall();
// Without the right to mount, the refusals above stand for the disk's own.
if (probe !== undefined) {
  describe("A real disk", () => {
    test("that is full is told before an order, and nothing stored is touched", async () => {
      using disk = mountSmall();
      const dir = join(disk?.dir ?? "", "tls");
      const store = openStore(dir, systemClock);
      await store.prove();
      await store.saveCertificate(DOMAIN, pair);
      await store.saveState(DOMAIN, { failures: 1 });
      fill(disk?.dir ?? "", 20_000);
      expect((await problemOf(store.prove())).message).toBe(`Cannot write "${dir}": the disk is full`);
      rmSync(join(disk?.dir ?? "", "filler"));
      await store.prove();

      fill(disk?.dir ?? "", 0);
      const failed = await problemOf(store.saveCertificate(DOMAIN, otherPair));
      expect(failed.message).toBe(`Cannot write "${join(dir, DOMAIN, "combined.pem")}": the disk is full`);
      await problemOf(store.saveState(DOMAIN, { failures: 2 }));
      await problemOf(store.lock(DOMAIN));
      expect(await store.certificate(DOMAIN)).toEqual(pair);
      expect(await store.state(DOMAIN)).toEqual({ failures: 1 });
      expect(filesBelow(dir).filter((name) => /tmp|lock/.test(name))).toEqual([]);

      rmSync(join(disk?.dir ?? "", "filler"));
      await store.saveCertificate(DOMAIN, otherPair);
      await (await store.lock(DOMAIN)).release();
    });

    test("that is read-only is told, and what is on it is served", async () => {
      using disk = mountSmall();
      const dir = join(disk?.dir ?? "", "tls");
      await openStore(dir, systemClock).saveCertificate(DOMAIN, pair);
      disk?.remount("ro");
      const store = openStore(dir, systemClock);
      expect(await store.certificate(DOMAIN)).toEqual(pair);
      expect((await problemOf(store.prove())).message).toContain("mounted read-only");
      expect((await problemOf(store.saveState(DOMAIN, { failures: 1 }))).message).toContain("read-only");
      disk?.remount("rw");
      await store.prove();
    });
  });
}
