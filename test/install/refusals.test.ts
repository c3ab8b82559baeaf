import { describe, expect, test } from "bun:test";
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { lacksPart } from "../support/parts.ts";
import { asNobody, Machine, type MachineOptions } from "./machine.ts";
import { archivePath, TARGET } from "./releases.ts";
import { type Fault, serveReleases } from "./release-server.ts";
import { addSmallRelease, FIRST, SECOND, SmallReleases } from "./small-release.ts";

/** Runs install.sh where `FIRST` is installed, and sees that nothing of that changes. */
async function refusal(
  machine: Machine,
  releases: SmallReleases,
  faults: Record<string, Fault>,
  args: string[] = [],
): Promise<{ url: string; stderr: string }> {
  await using server = await serveReleases(releases.path);
  await machine.install(releases.script, ["--version", FIRST], server.env);
  for (const [path, fault] of Object.entries(faults)) server.faults.set(path, fault);
  const before = machine.state();
  const { stderr, code } = await machine.install(releases.script, args, server.env);
  expect({ code, state: machine.state() }).toEqual({ code: 1, state: before });
  return { url: server.url, stderr };
}

const archive = archivePath(SECOND);
const sums = `v${SECOND}/SHA256SUMS`;

/** What a loader says that finds a library too old. */
const LOADER = `printf '%s not found\\n' GLIBC_9.9 'symbol 1' 'symbol 2' 'symbol 3' >&2; exit 127`;

describe("An archive", () => {
  test("with another sum than SHA256SUMS has is not unpacked", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const bytes = readFileSync(join(releases.path, archive));
    bytes[bytes.length >> 1]! ^= 1;
    const { url, stderr } = await refusal(machine, releases, { [archive]: { bytes } });
    expect(stderr).toStartWith(
      `install.sh: Cannot trust ${url}/${archive}: its SHA-256 is not the one in SHA256SUMS\n`,
    );
    expect(stderr).toContain("  It was cut short or changed on its way; nothing was installed.");
  });

  test("that was cut short without a word of it is not unpacked", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const bytes = readFileSync(join(releases.path, archive)).subarray(0, -100);
    const { stderr } = await refusal(machine, releases, { [archive]: { bytes } });
    expect(stderr).toContain("its SHA-256 is not the one in SHA256SUMS\n");
  });

  const cut: [MachineOptions, string][] = [
    [{ programs: ["curl"] }, "the connection was cut (curl ended with exit code 18)"],
    [
      { programs: ["wget"] },
      "nothing answers there, or the connection was cut (wget ended with exit code 4)",
    ],
    [{ shell: "busybox", programs: [] }, "small-wget ended with exit code 1"],
  ];
  test.skipIf(lacksPart("curl", "wget", "busybox")).each(cut)(
    "whose download is cut off is not installed (%p)",
    async (options, why) => {
      using machine = new Machine(options);
      using releases = await SmallReleases.make();
      const { stderr } = await refusal(machine, releases, { [archive]: "cut" });
      expect(stderr).toContain(`/${archive}: ${why}\n`);
    },
  );

  test("that does not say its version here is not installed", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: LOADER });
    const { stderr } = await refusal(machine, releases, {});
    expect(stderr).toBe(
      `install.sh: Cannot run modelrelay 2.0.0 for ${TARGET} here: exit code 127\n` +
        "  GLIBC_9.9 not found\n  symbol 1 not found\n" +
        "  Is this system too old for it? Tell whoever made the release what it says, and: uname -a, ldd --version\n",
    );
  });

  test("that says another version is not installed", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await addSmallRelease(releases.path, { version: "2.0.0", script: "echo 'modelrelay 2.0.1 (x, y)'" });
    const { stderr } = await refusal(machine, releases, {});
    expect(stderr).toContain("Cannot run modelrelay 2.0.0");
  });
});

describe("A release address", () => {
  test.each([
    ["latest.txt", "Cannot find the newest version at"],
    [sums, "Cannot download"],
    [archive, "Cannot download"],
  ])("that lacks %s is told", async (path, what) => {
    for (const programs of [["curl"], ["wget"]]) {
      using machine = new Machine({ programs });
      using releases = await SmallReleases.make();
      const { url, stderr } = await refusal(machine, releases, { [path]: 404 });
      expect(stderr).toContain(`install.sh: ${what} ${url}/${path}: the server refused it (`);
      expect(stderr).toContain(`${url}/latest.txt names the newest\n`);
    }
  });

  test("that is a page for a login is told", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const { url, stderr } = await refusal(machine, releases, {
      "latest.txt": { bytes: "<!DOCTYPE html>\n" },
    });
    expect(stderr).toBe(
      `install.sh: Cannot install what ${url}/latest.txt says: "<!DOCTYPE html>" is no version such as 1.2.3\n` +
        `  Check the release address, ${url}, and that this network needs no login\n`,
    );
  });

  test("whose release lacks this platform is told, with what it has", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const bytes = `${"0".repeat(64)}  modelrelay-${SECOND}-plan9-x64.tar.gz\n`;
    const { stderr } = await refusal(machine, releases, { [sums]: { bytes } });
    expect(stderr).toStartWith(
      `install.sh: Cannot install modelrelay ${SECOND} on ${TARGET}: the release has no ` +
        `modelrelay-${SECOND}-${TARGET}.tar.gz, but has: plan9-x64.tar.gz\n`,
    );
  });

  test.each([
    ["http://127.0.0.1:9", "nothing answers there (curl ended with exit code 7)"],
    ["http://modelrelay.invalid", "nothing answers there (curl ended with exit code 6)"],
  ])("that cannot be reached is told: %s", async (address, why) => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const { stderr } = await refusal(machine, releases, {}, ["--base-url", address]);
    expect(stderr).toEndWith(
      `install.sh: Cannot find the newest version at ${address}/latest.txt: ${why}\n` +
        "  Check the address, the network and, where a proxy is needed, HTTPS_PROXY\n",
    );
  });

  test.skipIf(lacksPart("busybox"))("that cannot be reached is told by a small wget as well", async () => {
    using machine = new Machine({ shell: "busybox", programs: [] });
    using releases = await SmallReleases.make();
    const { stderr } = await refusal(machine, releases, {}, ["--base-url", "http://127.0.0.1:9"]);
    expect(stderr).toContain("Cannot find the newest version at http://127.0.0.1:9/latest.txt");
    expect(stderr).toContain("check the address and the network, then try again\n");
  });

  test("that nobody gave is asked for", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const { stderr, code } = await machine.install(releases.script);
    expect({ stderr, code }).toEqual({
      stderr:
        "install.sh: Cannot tell where to download from: this install.sh knows no release address\n" +
        "  Give one with --base-url URL, or MODELRELAY_BASE_URL=URL in front of sh\n",
      code: 1,
    });
  });
});

describe("A machine", () => {
  const x64 = (name: string) => `case $1 in -m) echo ${name} ;; -o) echo GNU/Linux ;; *) echo Linux ;; esac`;
  test.each([
    ["uname", x64("riscv64"), 'on the processor "riscv64": there are builds for x86_64 and arm64, 64 bits'],
    ["uname", x64("i686"), 'on the processor "i686"'],
    ["uname", "echo FreeBSD", 'on the system "FreeBSD": there are builds for Linux, macOS and Windows'],
    ["uname", "echo MINGW64_NT-10.0", "on Windows from this shell"],
    ["uname", `case $1 in -m) echo aarch64 ;; -o) echo Android ;; *) echo Linux ;; esac`, "on Android"],
    ["getconf", "echo 32", "on a 32-bit system"],
  ])("that is not supported is told (%s: %s)", async (name, script, why) => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    machine.fake(name, script);
    await using server = await serveReleases(releases.path);
    const before = machine.state();
    const { stdout, stderr, code } = await machine.install(releases.script, [], server.env);
    expect({ stdout, code, asked: server.asked }).toEqual({ stdout: "", code: 1, asked: [] });
    expect(stderr).toStartWith(`install.sh: Cannot install ${why}`);
    expect(stderr.split("\n").length).toBeGreaterThan(2);
    expect(machine.state()).toEqual(before);
  });

  test.each([
    ["curl", "neither curl nor wget", "apt-get install curl"],
    ["sha256sum", "no sha256sum, shasum or openssl", "apk add openssl"],
    ["tar", "there is no tar", "apt-get install tar"],
  ])("that lacks %s is told what to install", async (tool, why, what) => {
    using machine = new Machine({ without: [tool] });
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    const before = machine.state();
    const { stderr, code } = await machine.install(releases.script, [], server.env);
    expect(stderr).toContain(why);
    expect(stderr).toContain(what);
    expect({ code, state: machine.state() }).toEqual({ code: 1, state: before });
  });

  const targets: [string, Record<string, string>, string][] = [
    ["musl", { getconf: "exit 1", ldd: "echo 'musl libc (x86_64)' >&2; exit 1" }, "-musl"],
    ["arm64", { uname: x64("aarch64") }, "linux-arm64"],
    ["macOS", { uname: `[ "$1" = -m ] && echo arm64 || echo Darwin` }, "darwin-arm64"],
    [
      "a shell for Intel on Apple's processor",
      { uname: `[ "$1" = -m ] && echo x86_64 || echo Darwin`, sysctl: "echo 1" },
      "darwin-arm64",
    ],
    ["a processor without AVX2", { uname: x64("x86_64"), grep: "exit 1" }, "linux-x64-baseline"],
  ];
  test.each(targets)("with %s gets the build for it", async (_, programs, target) => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    for (const [name, script] of Object.entries(programs)) machine.fake(name, script);
    await using server = await serveReleases(releases.path);
    const { stderr } = await machine.install(releases.script, [], server.env);
    // Such a build is not in the release: it is enough that it is asked for.
    expect(/on (\S+): the release has no/.exec(stderr)?.[1]).toEndWith(target);
  });
});

describe("A folder that may not be written", () => {
  test("is told, with what to do", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    mkdirSync(machine.bin, { recursive: true, mode: 0o755 });
    const before = machine.state();
    const command = [...asNobody(), "/bin/sh", releases.script, "--prefix", machine.prefix];
    const { stderr, code } = await machine.run(command, server.env);
    expect(stderr).toMatch(
      /^install\.sh: Cannot write to \S+\/prefix\/bin as nobody: Permission denied\n {2}Run it as root .*--prefix \S+\/\.local\n$/,
    );
    expect({ code, asked: server.asked, state: machine.state() }).toEqual({
      code: 1,
      asked: [],
      state: before,
    });
  });

  test("keeps what is installed there", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    await machine.install(releases.script, [], server.env);
    const before = machine.state();
    const command = [...asNobody(), "/bin/sh", releases.script, "--prefix", machine.prefix, "--uninstall"];
    const { stderr, code } = await machine.run(command, server.env);
    expect(stderr).toContain(`Cannot remove ${machine.executable} as nobody`);
    expect({ code, state: machine.state() }).toEqual({ code: 1, state: before });
  });

  test("is told where a folder has the name of the executable", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    await using server = await serveReleases(releases.path);
    mkdirSync(machine.executable, { recursive: true });
    const before = machine.state();
    const { stderr, code } = await machine.install(releases.script, [], server.env);
    expect(stderr).toContain(`Cannot install ${machine.executable}: a folder has that name`);
    expect({ code, state: machine.state() }).toEqual({ code: 1, state: before });
  });

  test("is asked for if the user has no home", async () => {
    using machine = new Machine();
    using releases = await SmallReleases.make();
    const command = [...asNobody(), "/bin/sh", releases.script, "--base-url", "http://127.0.0.1:9"];
    const { stderr, code } = await machine.run(command, { HOME: "" });
    expect(stderr).toContain(
      "Cannot tell where to install: this user has no HOME\n  Say it with --prefix DIR\n",
    );
    expect(code).toBe(1);
  });
});
