import { describe, expect, test } from "bun:test";
import { Machine, type MachineOptions, namesIn } from "./machine.ts";
import { archivePath } from "./releases.ts";
import { serveReleases } from "./release-server.ts";
import { FIRST, SECOND, SmallReleases } from "./small-release.ts";

const archive = archivePath(SECOND);

describe("A run that is interrupted in the middle of the download", () => {
  for (const [signal, exit] of [
    ["SIGTERM", 143],
    ["SIGINT", 130],
    ["SIGHUP", 129],
  ] as const) {
    test(`by ${signal} ends at once, and leaves what was there`, async () => {
      for (const options of [
        { programs: ["curl"] },
        { shell: "busybox", programs: [] },
      ] as MachineOptions[]) {
        using machine = new Machine(options);
        using releases = await SmallReleases.make();
        await using server = await serveReleases(releases.path);
        await machine.install(releases.script, ["--version", FIRST], server.env);
        const before = machine.state();
        server.faults.set(archive, "stall");
        await using run = machine.start(releases.script, [], server.env);
        await server.stalled;
        expect(machine.state()).not.toEqual(before);
        run.kill(signal);
        expect(await run.exited).toBe(exit);
        expect(run.stderr).toEndWith("install.sh: interrupted; nothing was changed\n");
        expect(machine.state()).toEqual(before);
        expect(await machine.version()).toBe(FIRST);
      }
    });
  }

  test("by SIGTERM leaves no folder that it made", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const before = machine.state();
    server.faults.set(archive, "stall");
    await using run = machine.start(releases.script, [], server.env);
    await server.stalled;
    run.kill("SIGTERM");
    await run.exited;
    expect(machine.state()).toEqual(before);
  });

  test("by SIGKILL leaves what was there, and the next one removes the rest", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, ["--version", FIRST], server.env);
    server.faults.set(archive, "stall");
    {
      await using run = machine.start(releases.script, [], server.env);
      await server.stalled;
      run.kill("SIGKILL");
      // What it started to download with goes on, and would keep its output open.
      await using closing = server;
      await closing[Symbol.asyncDispose]();
      await run.exited;
    }
    expect(namesIn(machine.bin).filter((name) => name.startsWith(".modelrelay-install."))).not.toEqual([]);
    expect(await machine.version()).toBe(FIRST);
    await using again = await serveReleases(releases.path);
    await machine.install(releases.script, [], again.env);
    expect(await machine.version()).toBe(SECOND);
    expect(namesIn(machine.bin)).toEqual(["modelrelay", "modelrelay.previous"]);
  });
});
