import { beforeAll, describe, expect, test } from "bun:test";
import { statSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "../e2e/program.ts";
import { lacksPart } from "../support/parts.ts";
import { asNobody, Machine, namesIn, type MachineOptions } from "./machine.ts";
import { archivePath, NEWER, OLDER, releaseFolder, TARGET } from "./releases.ts";
import { serveReleases } from "./release-server.ts";

let dir: string;
let script: string;
beforeAll(async () => {
  dir = await releaseFolder();
  script = join(dir, "install.sh");
}, 60_000);

test.skipIf(lacksPart("shellcheck"))("install.sh has nothing that shellcheck minds", async () => {
  const { code, stdout } = await runProgram(["shellcheck", "--shell=sh", script]);
  expect({ stdout, code }).toEqual({ stdout: "", code: 0 });
});

const machines: MachineOptions[] = [
  { shell: "dash", programs: ["curl"] },
  { shell: "dash", programs: ["wget"] },
  { shell: "bash", programs: ["curl"] },
  { shell: "bash", programs: ["wget"] },
  { shell: "busybox", programs: [] },
  { shell: "busybox", programs: ["curl"] },
];
for (const options of machines) {
  const { shell = "dash", programs = [] } = options;
  test.skipIf(lacksPart("curl", "wget", "busybox"))(
    `A release is installed with ${shell} and ${programs[0] ?? "its own wget"} alone`,
    async () => {
      using machine = new Machine(options);
      await using server = await serveReleases(dir);
      const { stdout, stderr, code } = await machine.install(script, [], server.env);
      expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
      expect(stdout).toStartWith(
        `Downloading modelrelay ${NEWER} for ${TARGET} from ${server.url}\n` +
          `Installed modelrelay ${NEWER} for ${TARGET} in ${machine.bin}\n`,
      );
      expect(stdout).toContain("\n  modelrelay serve --tls --domain relay.example.com\n");
      expect(stdout).toContain("\n  modelrelay worker --proxy-url ");
      expect(await machine.version()).toBe(NEWER);
      expect((statSync(machine.executable).mode & 0o7777).toString(8)).toBe("755");
      expect(namesIn(machine.bin)).toEqual(["modelrelay"]);
      expect(server.asked).toEqual(["latest.txt", `v${NEWER}/SHA256SUMS`, archivePath(NEWER)]);
    },
  );
}

describe("A release", () => {
  test("is installed from a pipe, for everybody, whatever root's umask is", async () => {
    using machine = new Machine();
    await using server = await serveReleases(dir);
    const piped = `umask 077; curl -fsSL ${server.url}/install.sh | /bin/sh -s -- --prefix "${machine.prefix}"`;
    const { stderr, code } = await machine.run(["/bin/sh", "-c", piped], server.env);
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(await machine.version()).toBe(NEWER);
    for (const path of [machine.bin, machine.executable]) expect(statSync(path).mode & 0o055).toBe(0o055);
  });

  test("goes into ~/.local without root, and it is said how to make that found", async () => {
    using machine = new Machine();
    await using server = await serveReleases(dir);
    const home = await machine.homeOfNobody();
    const { stdout, stderr, code } = await machine.run([...asNobody(), "/bin/sh", script], {
      ...server.env,
      HOME: home,
    });
    const bin = join(home, ".local/bin");
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toContain(`${bin} is not on your PATH`);
    expect(stdout).toContain(`\n  export PATH="${bin}:$PATH"\n`);
    expect(await machine.version(join(bin, "modelrelay"))).toBe(NEWER);
  });

  test("replaces an older one, which goes on for those who run it, and is kept", async () => {
    using machine = new Machine();
    await using server = await serveReleases(dir);
    await machine.install(script, ["--version", OLDER], server.env);
    const first = statSync(machine.executable);
    const { stdout } = await machine.install(script, [], server.env);
    expect(stdout).toContain(`The version before it, ${OLDER}, is kept`);
    expect([await machine.version(), await machine.version(machine.previous)]).toEqual([NEWER, OLDER]);
    expect(statSync(machine.previous).ino).toBe(first.ino);
  });
});
