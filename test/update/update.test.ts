import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  linkSync,
  lstatSync,
  mkdirSync,
  readFileSync,
  renameSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { archivePath, TARGET } from "../install/releases.ts";
import { executable, Installed, NEW, NEWEST, OLD, Releases, removeExecutables } from "./installed.ts";

afterAll(removeExecutables);

const SOURCE = [process.execPath, new URL("../../src/cli.ts", import.meta.url).pathname];

describe.skipIf(process.platform === "win32")("update", () => {
  let old: string;
  beforeAll(async () => {
    old = await executable(OLD);
  }, 60_000);

  test("installs the newest version, keeps the one before, and goes back and forth between them", async () => {
    using releases = new Releases();
    await releases.addReal(NEW);
    await using server = await releases.serve();
    using installed = new Installed(old);
    const updated = await installed.run(["update"], server.env);
    expect(updated).toEqual({
      stdout: `${installed.program} is now modelrelay ${NEW}; ${OLD} is kept, and modelrelay update --rollback brings it back\n`,
      stderr: expect.stringMatching(/^Downloading modelrelay 1\.1\.0, 0 %, .* of .* MiB\n$/) as string,
      code: 0,
    });
    expect([await installed.version(), await installed.version(installed.previous)]).toEqual([NEW, OLD]);
    expect(readFileSync(installed.previous).equals(readFileSync(old))).toBe(true);
    expect(Object.keys(installed.state)).toEqual(["bin", "bin/modelrelay", "bin/modelrelay.previous"]);

    const back = await installed.run(["update", "--rollback"]);
    expect(back.stdout).toStartWith(`${installed.program} is now modelrelay ${OLD}; ${NEW} is kept`);
    expect([await installed.version(), await installed.version(installed.previous)]).toEqual([OLD, NEW]);
    const again = await installed.run(["update", "--rollback", "--json"]);
    expect(JSON.parse(again.stdout)).toEqual({
      from: OLD,
      to: NEW,
      path: installed.program,
      previous: installed.previous,
      running: process.platform === "linux" ? [] : null,
      notes: [],
    });
    expect(await installed.version()).toBe(NEW);
    expect(Object.keys(installed.state)).toEqual(["bin", "bin/modelrelay", "bin/modelrelay.previous"]);
  });

  test("goes back from a version that does not run, by the one that is kept", async () => {
    using installed = new Installed(old);
    renameSync(installed.program, installed.previous);
    writeFileSync(installed.program, "#!/bin/sh\nexit 1\n", { mode: 0o755 });
    const { stdout, code } = await installed.run(["update", "--rollback"], {}, installed.previous);
    expect([stdout, code]).toEqual([
      `${installed.program} is now modelrelay ${OLD}; the other is kept, and modelrelay update --rollback brings it back\n`,
      0,
    ]);
    expect(await installed.version()).toBe(OLD);
    expect(readFileSync(installed.previous, "utf8")).toBe("#!/bin/sh\nexit 1\n");
  });

  test("asks for what install.sh asks for, in its order, and for nothing where this is the newest", async () => {
    using releases = new Releases();
    await releases.add({ version: OLD });
    await using server = await releases.serve();
    using installed = new Installed(old);
    const before = installed.state;
    const same = await installed.run(["update", "--base-url", `${server.url}/`]);
    expect(same).toEqual({
      stdout: `${installed.program} is modelrelay ${OLD} already\n`,
      stderr: "",
      code: 0,
    });
    expect([server.asked.splice(0), installed.state]).toEqual([["latest.txt"], before]);
    await releases.add({ version: NEW });
    expect((await installed.run(["update"], server.env)).code).toBe(0);
    expect(server.asked).toEqual(["latest.txt", `v${NEW}/SHA256SUMS`, archivePath(NEW)]);
  });

  test("--check tells whether there is a newer version, by text, JSON and exit code, and changes nothing", async () => {
    using releases = new Releases();
    await using server = await releases.serve();
    using installed = new Installed(old);
    const before = installed.state;
    const check = async (version: string) => {
      releases.write("latest.txt", `${version}\n`);
      const [text, json] = await Promise.all([
        installed.run(["update", "--check"], server.env),
        installed.run(["update", "--check", "--json"], server.env),
      ]);
      expect([text.stderr, json.stderr, json.code]).toEqual(["", "", text.code]);
      return [text.code, text.stdout, JSON.parse(json.stdout)] as unknown[];
    };
    const json = (newest: string, isNewer: boolean) => ({
      current: OLD,
      newest,
      update_available: isNewer,
      base_url: server.url,
    });
    expect(await check(NEW)).toEqual([
      1,
      `modelrelay ${NEW} is there; this is ${OLD}. Install it with: modelrelay update\n`,
      json(NEW, true),
    ]);
    expect(await check(OLD)).toEqual([
      0,
      `This is modelrelay ${OLD}, the newest version\n`,
      json(OLD, false),
    ]);
    expect(await check("0.9.9")).toEqual([
      0,
      `This is modelrelay ${OLD}, newer than the newest release, 0.9.9\n`,
      json("0.9.9", false),
    ]);
    // A release comes after the versions that led to it.
    expect((await check(`${OLD}-rc.9`))[0]).toBe(0);
    expect(installed.state).toEqual(before);
    server.faults.set("latest.txt", 503);
    const failed = await installed.run(["update", "--check", "--json"], server.env);
    expect(failed).toEqual({
      stdout: "",
      stderr: `error: Cannot download ${server.url}/latest.txt: the server answers with HTTP status 503\n  → Try again later\n`,
      code: 69,
    });
  });

  test("--version installs any version, with or without its v; without it an older one is refused", async () => {
    using releases = new Releases();
    await releases.add({ version: NEWEST });
    await releases.add({ version: "0.9.0" });
    await using server = await releases.serve();
    using installed = new Installed(old);
    const before = installed.state;
    expect(await installed.run(["update"], server.env)).toEqual({
      stdout: "",
      stderr:
        `error: Cannot update to 0.9.0, the newest version at ${server.url}: this is ${OLD}, which is newer\n` +
        "  → To go back all the same: modelrelay update --version 0.9.0\n",
      code: 1,
    });
    expect(installed.state).toEqual(before);
    expect((await installed.run(["update", "--version", "v0.9.0"], server.env)).code).toBe(0);
    expect(await installed.version()).toBe("0.9.0");
    using other = new Installed(old);
    expect((await other.run(["update", `--version=${NEWEST}`], server.env)).code).toBe(0);
    expect(await other.version()).toBe(NEWEST);
  });

  test("follows a link, which stays a link", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serve();
    using installed = new Installed(old);
    const links = join(installed.path, "links");
    mkdirSync(links);
    symlinkSync("../bin/modelrelay", join(links, "second"));
    symlinkSync(join(links, "second"), join(links, "mr"));
    const { stdout, code } = await installed.run(["update"], server.env, join(links, "mr"));
    expect([code, stdout.split(" ")[0]]).toEqual([0, installed.program]);
    expect(lstatSync(join(links, "mr")).isSymbolicLink()).toBe(true);
    expect([await installed.version(), await installed.version(join(links, "mr"))]).toEqual([NEW, NEW]);
    expect(await installed.version(installed.previous)).toBe(OLD);
  });

  test("works under another name, and keeps mode and owner", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serve();
    using installed = new Installed(old);
    installed.separate();
    const program = join(installed.bin, "relay");
    linkSync(installed.program, program);
    chmodSync(program, 0o750);
    const { uid, gid } = statSync(program);
    expect((await installed.run(["update"], server.env, program)).code).toBe(0);
    expect(await installed.version(program)).toBe(NEW);
    expect(await installed.version(`${program}.previous`)).toBe(OLD);
    const after = statSync(program);
    expect([after.mode & 0o777, after.uid, after.gid]).toEqual([0o750, uid, gid]);
    expect(await installed.version()).toBe(OLD);
  });

  test("renews the manual, completions and licence where install.sh has put them", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serve();
    using installed = new Installed(old);
    const about = join(installed.path, "share/doc/modelrelay");
    mkdirSync(about, { recursive: true });
    const list = `${join(installed.path, "share")}\n`;
    installed.write("share/doc/modelrelay/made-folders", list);
    installed.write("share/doc/modelrelay/LICENSE", "an older one\n");
    const { stdout, code } = await installed.run(["update"], server.env);
    expect([code, stdout.split("\n").length]).toEqual([0, 2]);
    expect(
      Object.keys(installed.state).filter((name) => name.startsWith("share/") && /[.]|_|LICENSE/.test(name)),
    ).toEqual([
      "share/doc/modelrelay/LICENSE",
      "share/doc/modelrelay/README.md",
      "share/doc/modelrelay/systemd/modelrelay.service",
      "share/fish/vendor_completions.d",
      "share/fish/vendor_completions.d/modelrelay.fish",
      "share/man/man1/modelrelay.1",
      "share/zsh/site-functions/_modelrelay",
    ]);
    expect(readFileSync(join(about, "LICENSE"), "utf8")).toBe("MIT\n");
    const made = readFileSync(join(about, "made-folders"), "utf8");
    expect(made).toStartWith(list);
    expect(made).toContain(`\n${installed.path}/share/man\n${installed.path}/share/man/man1\n`);
  });

  test.skipIf(process.platform !== "linux")("names what still runs the version before", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serve();
    using installed = new Installed(old);
    // Others on this machine may run the file under its first name.
    installed.separate();
    await using serve = installed.start(["serve", "--listen=127.0.0.1:0"]);
    await serve.until(/The relay listens/);
    const { stdout } = await installed.run(["update"], server.env);
    expect(stdout).toContain(
      `Process ${serve.pid} still runs the version before: stop it and start it again\n`,
    );
    serve.kill("SIGTERM");
    expect(await serve.exited).toBe(0);
  });

  const PATH = "/usr/sbin:/sbin:/usr/bin:/bin";
  const mayGiveCapabilities =
    process.platform === "linux" && process.getuid?.() === 0 && Bun.which("setcap", { PATH }) !== null;

  test.skipIf(!mayGiveCapabilities)("gives the new one the right to open low ports", async () => {
    using releases = new Releases();
    await releases.add({ version: NEW });
    await using server = await releases.serve();
    using installed = new Installed(old);
    installed.separate();
    const tool = (name: string, ...args: string[]): string =>
      Bun.spawnSync([Bun.which(name, { PATH }) ?? name, ...args]).stdout.toString();
    tool("setcap", "cap_net_bind_service=ep", installed.program);
    expect(tool("getcap", installed.program)).toContain("cap_net_bind_service");
    const { stdout, code } = await installed.run(["update"], server.env);
    expect([code, stdout.split("\n").length]).toEqual([0, 2]);
    expect(await installed.version()).toBe(NEW);
    expect(tool("getcap", installed.program)).toContain("cap_net_bind_service");
    expect(tool("getcap", installed.previous)).toContain("cap_net_bind_service");
  });

  test("from its sources says that there is no executable", async () => {
    const { stdout, stderr, code } = await runProgram([...SOURCE, "update", "--base-url=http://127.0.0.1:9"]);
    expect({ stdout, code }).toEqual({ stdout: "", code: 1 });
    expect(stderr).toBe(
      "error: Cannot update what runs from its sources: there is no executable to replace\n" +
        "  → Take newer sources with git pull; bun run build makes an executable of them\n",
    );
  });

  test("refuses what makes no sense, with exit code 2", async () => {
    using installed = new Installed(old);
    const refused = async (...args: string[]): Promise<string> => {
      const { stderr, stdout, code } = await installed.run(["update", ...args]);
      expect([stdout, code]).toEqual(["", 2]);
      return stderr;
    };
    expect(await refused()).toContain("Cannot tell where releases are");
    expect(await refused("--check")).toContain("→ Give one with --base-url URL, or MODELRELAY_BASE_URL\n");
    expect(await refused("--check", "--rollback")).toContain("Cannot use --check and --rollback together");
    expect(await refused("--rollback", "--version=1.2.3")).toContain(
      "Cannot use --rollback and --version together",
    );
    expect(await refused("--version=newest")).toContain("expected a version such as 1.2.3");
    expect(await refused("--base-url=ftp://x")).toContain("expected an http:// or https:// address");
  });

  test("the executable is of the platform that the tests install", () => {
    expect(Bun.spawnSync([old, "--version"]).stdout.toString()).toBe(
      `modelrelay ${OLD} (0123456789, ${TARGET})\n`,
    );
  });
});
