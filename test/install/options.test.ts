import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { startOnTerminal } from "../support/on-terminal.ts";
import { asNobody, Machine, namesIn } from "./machine.ts";
import { TARGET } from "./releases.ts";
import { serveReleases } from "./release-server.ts";
import { FIRST, SECOND, SmallReleases } from "./small-release.ts";

const SBIN = { PATH: "/usr/sbin:/sbin:/usr/bin:/bin" };

describe("install.sh", () => {
  test("takes the address from --base-url, and the version from --version", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const flags = ["--base-url", `${server.url}/`, `--version=v${FIRST}`];
    const { stdout, code } = await machine.install(releases.script, flags, {
      MODELRELAY_BASE_URL: "http://127.0.0.1:9",
    });
    expect({ code, installed: await machine.version() }).toEqual({ code: 0, installed: FIRST });
    expect(stdout).toContain(`Installed modelrelay ${FIRST} for ${TARGET} `);
    expect(server.asked).not.toContain("latest.txt");
  });

  test("installs the manual and what shells complete beside it", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, [], server.env);
    expect(namesIn(machine.prefix).filter((name) => !name.endsWith("/"))).toEqual([
      "bin/modelrelay",
      "share/bash-completion/completions/modelrelay",
      "share/doc/modelrelay/LICENSE",
      "share/doc/modelrelay/README.md",
      "share/doc/modelrelay/made-folders",
      "share/doc/modelrelay/systemd/modelrelay.service",
      "share/fish/vendor_completions.d/modelrelay.fish",
      "share/man/man1/modelrelay.1",
      "share/zsh/site-functions/_modelrelay",
    ]);
  });

  test("takes a prefix with blanks in it, from where it is run", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const { stderr, code } = await machine.install(releases.script, ["--prefix", "a folder/"], server.env);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(await machine.version(join(machine.dir, "a folder/bin/modelrelay"))).toBe(SECOND);
    await machine.install(releases.script, ["--prefix", "a folder", "--uninstall"]);
    expect(namesIn(machine.dir)).not.toContain("a folder/");
  });

  test("says so where the shell finds another one first", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    machine.fake("modelrelay", "exit 0");
    const { stdout } = await machine.install(releases.script, [], {
      ...server.env,
      PATH: `${machine.tools}:${machine.bin}`,
    });
    expect(stdout).toContain(`Your shell finds another one first, ${machine.tools}/modelrelay`);
    expect(stdout).toContain(`  ${machine.executable} serve --tls`);
  });

  test.each([
    [["--verison", "1.0.0"], 'It does not know "--verison"'],
    [["--version"], "--version needs a value"],
    [["--prefix="], "--prefix needs a value"],
    [["--service", "relay"], '--service takes serve or worker, not "relay"'],
    [["--", "--models", "*"], "What stands after -- is for a service: give --service too"],
    [["--purge"], "--purge goes with --uninstall"],
  ])("refuses %p with exit code 2", async (args, message) => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const { stdout, stderr, code } = await machine.install(releases.script, args, {
      MODELRELAY_BASE_URL: "http://127.0.0.1:9",
    });
    expect({ stdout, stderr, code }).toEqual({
      stdout: "",
      stderr: `install.sh: ${message}\n  sh install.sh --help says what it takes\n`,
      code: 2,
    });
  });

  test("--help names every option", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const { stdout, code } = await machine.install(releases.script, ["--help"]);
    expect(code).toBe(0);
    const known = readFileSync(releases.script, "utf8").matchAll(/^ {6}(--[a-z-]+)\)/gm);
    for (const [, option = ""] of known) expect(stdout).toContain(`  ${option} `);
  });
});

describe("A release", () => {
  test("is installed from a pipe, for everybody, whatever root's umask is", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const piped = `umask 077; curl -fsSL ${server.url}/install.sh | /bin/sh -s -- --prefix "${machine.prefix}"`;
    const { stderr, code } = await machine.run(["/bin/sh", "-c", piped], server.env);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(await machine.version()).toBe(SECOND);
    for (const path of [machine.bin, machine.executable]) expect(statSync(path).mode & 0o055).toBe(0o055);
  });

  test("goes into ~/.local without root, and it is said how to make that found", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const home = await machine.homeOfNobody();
    const { stdout, stderr, code } = await machine.run([...asNobody(), "/bin/sh", releases.script], {
      ...server.env,
      HOME: home,
    });
    const bin = join(home, ".local/bin");
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toContain(`${bin} is not on your PATH`);
    expect(stdout).toContain(`\n  export PATH="${bin}:$PATH"\n`);
    expect(await machine.version(join(bin, "modelrelay"))).toBe(SECOND);
  });

  test("replaces an older one, which goes on for those who run it, and is kept", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, ["--version", FIRST], server.env);
    const first = statSync(machine.executable);
    const { stdout } = await machine.install(releases.script, [], server.env);
    expect(stdout).toContain(`The version before it, ${FIRST}, is kept`);
    expect([await machine.version(), await machine.version(machine.previous)]).toEqual([SECOND, FIRST]);
    expect(statSync(machine.previous).ino).toBe(first.ino);
  });
});

describe("The download", () => {
  for (const [shell, fetcher, bar] of [
    ["dash", "curl", /100\.0%|#{10}/],
    ["dash", "wget", /100%\[=+>\]/],
    ["busybox", "wget", /100% \|\*+\|/],
  ] as const) {
    test(`shows how far it is on a terminal (${shell}, ${fetcher})`, async () => {
      using machine = new Machine({ shell, programs: shell === "busybox" ? [] : [fetcher] });
      using releases = await SmallReleases.make();
      await using server = await serveReleases(releases.path);
      const env = { ...server.env, PATH: machine.tools, HOME: machine.home };
      await using run = startOnTerminal(machine.command(releases.script), { env });
      expect(await run.exited).toBe(0);
      expect(run.written).toMatch(bar);
      expect(await machine.version()).toBe(SECOND);
    });
  }
});

describe("Installing again", () => {
  test("says that this version is there, and downloads nothing", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, [], server.env);
    const before = machine.state();
    server.asked.length = 0;
    const { stdout, code } = await machine.install(releases.script, [], server.env);
    expect(code).toBe(0);
    expect(stdout).toStartWith(
      `modelrelay ${SECOND} is already in ${machine.bin}; --force installs it again\n`,
    );
    expect(server.asked).toEqual(["latest.txt"]);
    expect(machine.state()).toEqual(before);
  });

  test("with --force does not take this version for the one before it", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, ["--version", FIRST], server.env);
    await machine.install(releases.script, [], server.env);
    const { stdout } = await machine.install(releases.script, ["--force"], server.env);
    expect(stdout).toContain(`Installed modelrelay ${SECOND}`);
    expect([await machine.version(), await machine.version(machine.previous)]).toEqual([SECOND, FIRST]);
  });

  test("goes back to an older version where that is asked for", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, [], server.env);
    await machine.install(releases.script, ["--version", FIRST], server.env);
    expect([await machine.version(), await machine.version(machine.previous)]).toEqual([FIRST, SECOND]);
  });

  const canSetCapabilities = process.getuid?.() === 0 && Bun.which("setcap", SBIN) !== null;
  test.skipIf(!canSetCapabilities)("passes on what setcap allowed the one before it", async () => {
    using machine = new Machine({ programs: ["curl", "getcap", "setcap"] });
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, ["--version", FIRST], server.env);
    await machine.run(["setcap", "cap_net_bind_service=ep", machine.executable]);
    const { stderr } = await machine.install(releases.script, [], server.env);
    const { stdout } = await machine.run(["getcap", machine.executable]);
    expect({ stderr, stdout }).toEqual({
      stderr: "",
      stdout: `${machine.executable} cap_net_bind_service=ep\n`,
    });
    expect(await machine.version()).toBe(SECOND);
  });

  test("replaces an executable that does not run", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    mkdirSync(machine.bin, { recursive: true });
    await Bun.write(machine.executable, "half of an executable");
    const { code } = await machine.install(releases.script, [], server.env);
    expect({ code, installed: await machine.version() }).toEqual({ code: 0, installed: SECOND });
  });
});

describe("Uninstalling", () => {
  test("removes all that was installed, and the folders that were made for it", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    mkdirSync(join(machine.prefix, "share/man"), { recursive: true });
    const before = machine.state();
    await machine.install(releases.script, ["--version", FIRST], server.env);
    await machine.install(releases.script, [], server.env);
    const { stdout, stderr, code } = await machine.install(releases.script, ["--uninstall"]);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toStartWith(`Removed modelrelay from ${machine.bin}\n`);
    expect(machine.state()).toEqual(before);
  });

  // As root it would be this machine's own settings and data as well.
  test("keeps settings and data, and says where; with --purge removes them", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const HOME = await machine.homeOfNobody();
    const data = join(HOME, ".local/share/modelrelay");
    const run = (...words: string[]) =>
      machine.run([...asNobody(), "/bin/sh", releases.script, ...words], { ...server.env, HOME });
    await machine.run([...asNobody(), "/bin/sh", "-c", `mkdir -p ${data} && echo 1 >${data}/worker-secret`]);
    await run();
    const kept = await run("--uninstall");
    expect(kept.stdout).toBe(
      `Removed modelrelay from ${HOME}/.local/bin\n` +
        `Kept settings and data in ${data}; to remove them too: rm -rf '${data}'\n`,
    );
    expect(readFileSync(join(data, "worker-secret"), "utf8")).toBe("1\n");
    await run();
    const removed = await run("--uninstall", "--purge");
    expect(removed.stdout).toEndWith(`Removed ${data}\n`);
    expect(namesIn(HOME)).toEqual([]);
  });

  test("leaves what others put there", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, [], server.env);
    symlinkSync("/bin/true", join(machine.bin, "modelrelay-of-mine"));
    await machine.install(releases.script, ["--uninstall"]);
    expect(namesIn(machine.bin)).toEqual(["modelrelay-of-mine"]);
  });

  test("says where it looked if nothing is there, and where there is one", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const none = await machine.install(releases.script, ["--uninstall"]);
    expect({ stderr: none.stderr, code: none.code }).toEqual({
      stderr: `install.sh: Cannot find modelrelay in ${machine.bin}\n  Say where it is: --uninstall --prefix DIR\n`,
      code: 1,
    });
    const elsewhere = join(machine.dir, "elsewhere/bin");
    mkdirSync(elsewhere, { recursive: true });
    symlinkSync("/bin/true", join(elsewhere, "modelrelay"));
    const other = await machine.install(releases.script, ["--uninstall"], {
      PATH: `${machine.tools}:${elsewhere}`,
    });
    expect(other.stderr).toContain(`--uninstall --prefix ${machine.dir}/elsewhere\n`);
  });
});
