import { describe, expect, test } from "bun:test";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Machine, type MachineOptions, namesIn } from "./machine.ts";
import { serveReleases } from "./release-server.ts";
import { FIRST, SECOND, SmallReleases } from "./small-release.ts";

const sums = `v${SECOND}/SHA256SUMS`;

describe("A release server", () => {
  const writings: [string, (text: string) => string][] = [
    ["with the ends of lines of Windows", (text) => text.replaceAll("\n", "\r\n")],
    ["in capitals", (text) => text.replace(/^\w+/gm, (sum) => sum.toUpperCase())],
    ["without the end of the last line", (text) => text.trimEnd()],
    ["as of a binary file", (text) => text.replaceAll("  ", " *")],
  ];
  for (const [how, write] of writings) {
    test(`may write its sums ${how}`, async () => {
      using machine = new Machine();
      using releases = await SmallReleases.make();
      await using server = await serveReleases(releases.path);
      server.faults.set(sums, { bytes: write(readFileSync(join(releases.path, sums), "utf8")) });
      const { stderr, code } = await machine.install(releases.script, [], server.env);
      expect({ stderr, code, version: await machine.version() }).toEqual({
        stderr: "",
        code: 0,
        version: SECOND,
      });
    });
  }

  test("moves no terminal with what it says", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    server.faults.set("latest.txt", { bytes: "\u001b]0;pwned\u0007\u009b2J\u202e<html>\n" });
    const newest = await machine.install(releases.script, [], server.env);
    expect(newest.stderr).toContain('says: "?]0;pwned???2J???<html>" is no version such as 1.2.3');
    server.faults.set(sums, { bytes: `${"0".repeat(64)}  \u001b[2J${"x".repeat(1_000)}\n` });
    const { stderr } = await machine.install(releases.script, ["--version", SECOND], server.env);
    expect(stderr).toMatch(/but has: \?\[2Jx{290,300}…\n/);
  });

  const machines: MachineOptions[] = [
    { shell: "dash", programs: ["curl"] },
    { shell: "bash", programs: ["wget"] },
    { shell: "busybox", programs: [] },
  ];
  for (const options of machines) {
    test(`cannot fill the disk with a list that does not end (${options.shell})`, async () => {
      using machine = new Machine(options);
      using releases = await SmallReleases.make();
      await using server = await serveReleases(releases.path);
      server.faults.set("latest.txt", { bytes: new Uint8Array(8 * 1024 * 1024).fill(0x39) });
      const { stderr, code } = await machine.install(releases.script, [], server.env);
      expect(stderr).toContain(": it does not end\n  Check the address: what is there is no release\n");
      expect([code, existsSync(machine.bin)]).toEqual([1, false]);
    });
  }
});

describe("A machine", () => {
  test("may have given this process the number of one that was killed", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const script = `mkdir -p "$0/.modelrelay-install.$$/left"; exec "$@"`;
    const command = ["/bin/sh", "-c", script, machine.bin, ...machine.command(releases.script)];
    const { stderr, code } = await machine.run(command, server.env);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(namesIn(machine.bin)).toEqual(["modelrelay"]);
  });

  test("whose current folder is gone has no place for a relative prefix", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const command = ["/bin/sh", "-c", 'mkdir gone; cd gone; rmdir ../gone; exec "$@"', "sh"];
    const { stderr, code } = await machine.run(
      [...command, "/bin/sh", releases.script, "--prefix", "gone-with-it"],
      { MODELRELAY_BASE_URL: "http://127.0.0.1:9" },
    );
    expect(stderr).toContain(
      'Cannot tell where "gone-with-it" is: the current folder is gone\n  Give --prefix a path that begins with /\n',
    );
    expect(code).toBe(1);
  });

  test("builds nothing that lies beside the install.sh of a release", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const script = readFileSync(releases.script, "utf8").replace('BASE_URL=""', `BASE_URL='${server.url}'`);
    writeFileSync(releases.script, script);
    writeFileSync(join(releases.path, "package.json"), "{}");
    mkdirSync(join(releases.path, "scripts"));
    writeFileSync(join(releases.path, "scripts/release.ts"), "throw 'foreign';");
    const { stdout, code } = await machine.install(releases.script);
    expect([stdout, code]).toEqual([expect.stringContaining(`Downloading modelrelay ${SECOND} `), 0]);
  });

  test("loses the data of no other home, whatever its own is called", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, ["--version", FIRST], server.env);
    const other = join(machine.dir, "other");
    const home = `${other}\n${machine.home}`;
    const data = join(home, ".local/share/modelrelay");
    for (const folder of [other, data]) mkdirSync(folder, { recursive: true });
    const env = { HOME: home, XDG_CONFIG_HOME: join(machine.dir, "none") };
    // Where root runs the tests, the data of a relay of this machine would go as well.
    machine.fake("id", "echo 1000");
    const { code } = await machine.install(releases.script, ["--uninstall", "--purge"], env);
    expect([code, existsSync(other), existsSync(data)]).toEqual([0, true, false]);
    rmSync(other, { recursive: true });
  });
});

describe("The services that run what is installed", () => {
  const prefixes = ["50% off", 'quoted "x" \\ y', "a&b<c>", "dots.and+signs (1)"];
  for (const name of prefixes) {
    test(`are found where that lies in "${name}", and those of others are not`, async () => {
      using machine = new Machine();
      using releases = await SmallReleases.make();
      await using server = await serveReleases(releases.path);
      const prefix = join(machine.dir, name);
      const path = `${prefix}/bin/modelrelay`;
      const inUnit = path.replaceAll("%", "%%").replace(/["\\]/g, "\\$&");
      const inXml = path
        .replaceAll("&", "&amp;")
        .replaceAll("<", "&lt;")
        .replaceAll(">", "&gt;")
        .replaceAll('"', "&quot;");
      const units = join(machine.home, ".config/systemd/user");
      const agents = join(machine.home, "Library/LaunchAgents");
      for (const folder of [units, agents]) mkdirSync(folder, { recursive: true });
      const place = (worker: string, line: string) =>
        writeFileSync(join(units, `modelrelay-worker@${worker}.service`), `[Service]\n${line}\n`);
      place("mine", `ExecStart="${inUnit}" worker`);
      place("old", `ExecStart="${inUnit}-old" worker`);
      place("deeper", `ExecStart="/opt${inUnit}" worker`);
      const plist = join(agents, "modelrelay.worker.mac.plist");
      writeFileSync(plist, `<string>${inXml}</string>\n`);
      const env = { ...server.env, XDG_CONFIG_HOME: join(machine.home, ".config") };
      const { stdout, code } = await machine.run(["/bin/sh", releases.script, "--prefix", prefix], env);
      expect(code).toBe(0);
      expect([...stdout.matchAll(/service restart (.*)/g)].map(([, words]) => words)).toEqual([
        "worker mine --user",
        "worker mac --user",
      ]);
    });
  }
});
