import { describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { asNobody, Machine, namesIn } from "./machine.ts";
import { serveReleases } from "./release-server.ts";
import { addSmallRelease, FIRST, SmallReleases } from "./small-release.ts";

// What `modelrelay service` does has tests of its own; here it is told what it was asked for.
const ECHO = `case $1 in
  --version) echo "modelrelay 2.0.0 (x, y)" ;;
  *) printf '<%s>' "$@"; echo; exit "\${SERVICE_EXIT:-0}" ;;
esac`;

/** A user's machine with systemd, and the release above on it. */
async function userMachine(releases: SmallReleases) {
  const machine = new Machine();
  const home = await machine.homeOfNobody();
  const server = await serveReleases(releases.path);
  const units = join(home, ".config/systemd/user");
  const run = (args: string[], env: Record<string, string> = {}) =>
    machine.run([...asNobody(), "/bin/sh", releases.script, ...args], {
      ...server.env,
      HOME: home,
      XDG_CONFIG_HOME: join(home, ".config"),
      ...env,
    });
  return {
    run,
    home,
    units,
    executable: join(home, ".local/bin/modelrelay"),
    /** Places the unit of a service that runs what is installed. */
    place(unit: string, executable = join(home, ".local/bin/modelrelay")) {
      mkdirSync(units, { recursive: true });
      writeFileSync(join(units, unit), `[Service]\nExecStart=${executable} serve\n`);
    },
    async [Symbol.asyncDispose]() {
      await server[Symbol.asyncDispose]();
      machine[Symbol.dispose]();
    },
  };
}

describe("--service", () => {
  test("sets up a service with the arguments for it, of the user who is not root", async () => {
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: ECHO });
    await using user = await userMachine(releases);
    const words = ["--service", "worker", "--", "--models", "a b,*"];
    const { stdout, stderr, code } = await user.run(words);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toEndWith("<service><install><worker><--replace><--user><--><--models><a b,*>\n");
  });

  test("has the one that is there run the new version, and leaves its arguments", async () => {
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: ECHO });
    await using user = await userMachine(releases);
    user.place("modelrelay.service");
    const { stdout, code } = await user.run(["--service=serve"]);
    expect(code).toBe(0);
    expect(stdout).toEndWith("<service><restart><serve><--user>\n");
  });

  test("passes on that the service could not be set up", async () => {
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: ECHO });
    await using user = await userMachine(releases);
    expect((await user.run(["--service=serve"], { SERVICE_EXIT: "7" })).code).toBe(7);
  });
});

test("An upgrade says how each service that runs what was there comes to run the new one", async () => {
  using releases = await SmallReleases.make();
  await using user = await userMachine(releases);
  await user.run(["--version", FIRST]);
  user.place("modelrelay.service");
  user.place("modelrelay-worker@gpu-box.service");
  user.place("modelrelay-worker@other.service", "/opt/bin/modelrelay");
  const PATH = `${process.env["PATH"]}:${user.home}/.local/bin`;
  const { stdout } = await user.run([], { PATH });
  const lines = stdout.split("\n").filter((line) => line.startsWith("A service"));
  expect(lines).toEqual([
    "A service runs the version before this one until: modelrelay service restart serve --user",
    "A service runs the version before this one until: modelrelay service restart worker gpu-box --user",
  ]);
});

describe("Uninstalling", () => {
  test("removes the services that run what is removed, and no other", async () => {
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: ECHO });
    await using user = await userMachine(releases);
    await user.run([]);
    user.place("modelrelay.service", "/opt/bin/modelrelay");
    user.place("modelrelay-worker@gpu-box.service");
    const { stdout, stderr, code } = await user.run(["--uninstall"]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toStartWith(
      `<service><uninstall><worker><gpu-box><--user>\nRemoved modelrelay from ${user.home}/.local/bin\n`,
    );
  });

  test("with --purge has their data removed too", async () => {
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: ECHO });
    await using user = await userMachine(releases);
    await user.run([]);
    user.place("modelrelay.service");
    const { stdout } = await user.run(["--uninstall", "--purge"]);
    expect(stdout).toStartWith("<service><uninstall><serve><--user><--purge>\n");
  });

  test("removes nothing while a service cannot be removed", async () => {
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: ECHO });
    await using user = await userMachine(releases);
    await user.run([]);
    user.place("modelrelay.service");
    const before = namesIn(user.home);
    const { stderr, code } = await user.run(["--uninstall"], { SERVICE_EXIT: "1" });
    expect(stderr).toBe(
      `install.sh: Cannot remove a service that runs ${user.executable}, so that stays where it is\n` +
        "  See the lines above; what was placed by hand has to be removed by hand\n",
    );
    expect({ code, names: namesIn(user.home) }).toEqual({ code: 1, names: before });
  });
});
