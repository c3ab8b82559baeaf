import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { randomBytes } from "node:crypto";
import { cpSync } from "node:fs";
import { tarGz } from "../../scripts/archive.ts";
import { archivePath } from "../install/releases.ts";
import { executable, Installed, NEW, OLD, Releases, removeExecutables } from "./installed.ts";

afterAll(removeExecutables);

const MIB = 1024 * 1024;

/** Mounts a small disk where the executables are; `undefined` where this user may not. */
function mountDisk(bin: string, options: string): Disposable | undefined {
  const mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", bin];
  if (process.platform !== "linux" || !Bun.spawnSync(mount, { stderr: "ignore" }).success) return undefined;
  return { [Symbol.dispose]: () => void Bun.spawnSync(["umount", bin]) };
}

function mayMount(): boolean {
  using place = new Releases();
  using disk = mountDisk(place.path, "size=1m");
  if (disk === undefined)
    process.stderr.write("Cannot mount a small disk as this user: the tests of a full one are skipped\n");
  return disk !== undefined;
}

/** A release with something beside its executable. */
function releaseWith(ballast: Uint8Array<ArrayBuffer>): Promise<Uint8Array> {
  const folder = archivePath(NEW).replace(/^.*\//, "").replace(".tar.gz", "");
  const script = new TextEncoder().encode(`#!/bin/sh\necho "modelrelay ${NEW} (x, y)"\n`);
  return tarGz(
    [
      { path: `${folder}/modelrelay`, bytes: script, executable: true },
      { path: `${folder}/ballast`, bytes: ballast, executable: false },
    ],
    0,
  );
}

describe.skipIf(!mayMount())("An update on a full disk", () => {
  let old: string;
  beforeAll(async () => {
    old = await executable(OLD);
  }, 60_000);

  test.each([
    ["that ends while it downloads", new Uint8Array(randomBytes(8 * MIB))],
    ["that ends while it unpacks", new Uint8Array(8 * MIB)],
  ])("%s changes nothing, and goes through once there is room", async (_, ballast) => {
    using releases = new Releases();
    releases.addArchive(NEW, await releaseWith(ballast));
    await using server = await releases.serve();
    using installed = new Installed(old);
    const size = Bun.file(old).size + 4 * MIB;
    using disk = mountDisk(installed.bin, `size=${size}`);
    expect(disk).toBeDefined();
    cpSync(old, installed.program);
    const before = installed.state;
    const { stderr, code } = await installed.run(["update"], server.env);
    expect(stderr).toEndWith(
      `error: Cannot update to ${NEW}: there is no space left in ${installed.bin}\n` +
        "  → Make room (about 250 MB) and try again\n",
    );
    expect([code, installed.state]).toEqual([1, before]);
    Bun.spawnSync(["mount", "-o", `remount,size=${size + 40 * MIB}`, installed.bin]);
    expect((await installed.run(["update"], server.env)).code).toBe(0);
    expect(await installed.version()).toBe(NEW);
  });

  test("that is mounted read-only says so", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serve();
    using installed = new Installed(old);
    using disk = mountDisk(installed.bin, "size=130m");
    expect(disk).toBeDefined();
    cpSync(old, installed.program);
    Bun.spawnSync(["mount", "-o", "remount,ro", installed.bin]);
    const { stderr, code } = await installed.run(["update"], server.env);
    expect([stderr, code]).toEqual([
      `error: Cannot update what is in ${installed.bin}: the file system of ${installed.bin} is mounted read-only\n` +
        "  → Mount it writable, or update the image that it comes from\n",
      1,
    ]);
  });
});
