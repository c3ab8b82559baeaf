import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import { findInstallation, replaceExecutable } from "../../src/update/installation.ts";
import { TempDir } from "../commands/reading.ts";

describe.skipIf(process.platform === "win32")("An executable", () => {
  /** One in a folder, and the folder for the work on it. */
  function installed(dir: TempDir) {
    const path = dir.write("modelrelay", "old");
    const work = join(dir.path, "work");
    mkdirSync(work);
    return { path, work, installation: findInstallation(path, "update") };
  }

  test("is replaced by a rename, and the one before becomes the previous", () => {
    using dir = new TempDir();
    const { path, work, installation } = installed(dir);
    dir.write("modelrelay.previous", "older");
    const { ino } = statSync(path);
    expect(replaceExecutable(dir.write("work/fresh", "new"), installation, work)).toBeUndefined();
    expect(readFileSync(path, "utf8")).toBe("new");
    expect(readFileSync(installation.previous, "utf8")).toBe("old");
    expect(statSync(installation.previous).ino).toBe(ino);
  });

  test("stays where it is, and so does the previous, if the new one cannot come into its place", () => {
    using dir = new TempDir();
    const { path, work, installation } = installed(dir);
    dir.write("modelrelay.previous", "older");
    // No folder can be renamed over a file.
    const fresh = join(work, "fresh");
    mkdirSync(fresh);
    expect(() => replaceExecutable(fresh, installation, work)).toThrow(Problem);
    expect(readFileSync(path, "utf8")).toBe("old");
    expect(readFileSync(installation.previous, "utf8")).toBe("older");
  });

  test("that is gone is not made anew", () => {
    using dir = new TempDir();
    const path = join(dir.path, "modelrelay");
    expect(() => findInstallation(path, "update")).toThrow(`Cannot replace "${path}": it is not there`);
    expect(existsSync(path)).toBe(false);
  });

  test("of Windows is kept under a name that can be run", () => {
    using dir = new TempDir();
    const { previous } = findInstallation(dir.write("modelrelay.exe", ""), "update");
    expect(previous).toBe(join(dir.path, "modelrelay.previous.exe"));
    const kept = dir.write("modelrelay.previous.exe", "");
    expect(() => findInstallation(kept, "update")).toThrow(
      `Cannot update "${kept}": it is kept for update --rollback`,
    );
    expect(findInstallation(kept, "rollback").path).toBe(join(dir.path, "modelrelay.exe"));
  });
});
