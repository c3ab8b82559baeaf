import { beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync } from "node:fs";
import { lacksPart } from "../support/parts.ts";
import { Machine, type MachineOptions, stateOf } from "./machine.ts";
import { archivePath, NEWER, releaseFolder } from "./releases.ts";
import { serveReleases } from "./release-server.ts";
import { SmallReleases } from "./small-release.ts";

/** Mounts a small disk where the machine installs; undefined where this user may not. */
function mountDisk(machine: Machine, options: string): Disposable | undefined {
  mkdirSync(machine.prefix);
  const mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", machine.prefix];
  if (process.platform !== "linux" || !Bun.spawnSync(mount, { stderr: "ignore" }).success) return undefined;
  return { [Symbol.dispose]: () => void Bun.spawnSync(["umount", machine.prefix]) };
}

function mayMount(): boolean {
  using machine = new Machine();
  using disk = mountDisk(machine, "size=1m");
  if (disk === undefined)
    process.stderr.write("Cannot mount a small disk as this user: its tests are skipped\n");
  return disk !== undefined;
}

describe.skipIf(!mayMount())("A disk", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await releaseFolder();
  }, 60_000);

  const fetchers: MachineOptions[] = [
    { programs: ["curl"] },
    { programs: ["wget"] },
    { shell: "busybox", programs: [] },
  ];
  test.skipIf(lacksPart("curl", "wget", "busybox")).each(fetchers)(
    "that is full before the download ends keeps what is installed (%p)",
    async (options) => {
      using machine = new Machine(options);
      using disk = mountDisk(machine, "size=20m");
      expect(disk).toBeDefined();
      using small = await SmallReleases.make();
      await using smallServer = await serveReleases(small.path);
      await machine.install(small.script, [], smallServer.env);
      const before = stateOf(machine.prefix);
      await using server = await serveReleases(dir);
      const { stderr, code } = await machine.install(small.script, [], server.env);
      expect(stderr).toEndWith(
        `install.sh: Cannot download ${server.url}/${archivePath(NEWER)}: there is no space left in ${machine.bin}\n` +
          "  Make room (about 250 MB), or choose another folder with --prefix\n",
      );
      expect({ code, state: stateOf(machine.prefix) }).toEqual({ code: 1, state: before });
    },
  );

  test("that is full before the executable is unpacked keeps what is installed", async () => {
    using machine = new Machine();
    using disk = mountDisk(machine, "size=100m");
    expect(disk).toBeDefined();
    using small = await SmallReleases.make();
    await using smallServer = await serveReleases(small.path);
    await machine.install(small.script, [], smallServer.env);
    const before = stateOf(machine.prefix);
    await using server = await serveReleases(dir);
    const { stderr, code } = await machine.install(small.script, [], server.env);
    expect(stderr).toContain(
      `install.sh: Cannot unpack the release: there is no space left in ${machine.bin}\n` +
        "  Make room (about 250 MB), or choose another folder with --prefix\n",
    );
    expect({ code, state: stateOf(machine.prefix) }).toEqual({ code: 1, state: before });
  });

  test("from which nothing may be run is told", async () => {
    using machine = new Machine();
    using disk = mountDisk(machine, "size=1m,noexec");
    expect(disk).toBeDefined();
    using small = await SmallReleases.make();
    await using server = await serveReleases(small.path);
    const { stderr, code } = await machine.install(small.script, [], server.env);
    expect(stderr).toContain(`Is ${machine.bin} on a disk that is mounted with noexec?`);
    expect({ code, state: stateOf(machine.prefix) }).toEqual({ code: 1, state: [] });
  });
});
