import { expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../package.json" with { type: "json" };
import { hostPlatform } from "../scripts/targets.ts";
import { binaryPath } from "./support/binary.ts";

/** A folder that belongs to somebody else: whatever obeys it says so on stdout. */
async function hostileFolder(): Promise<{ dir: string } & Disposable> {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-hostile-"));
  await Bun.write(join(dir, ".env"), "LISTEN_ADDR=not-an-address\nHOSTILE=from-dotenv\n");
  await Bun.write(join(dir, "bunfig.toml"), 'preload = ["./preload.ts"]\n');
  await Bun.write(join(dir, "preload.ts"), 'console.log("PRELOADED", process.env.HOSTILE);\n');
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

const CLI = join(import.meta.dir, "../src/cli.ts");

async function run(command: string[], cwd: string) {
  // None of this process's own settings: only the folder is to tell.
  const env = { PATH: process.env["PATH"] };
  const child = Bun.spawn(command, { cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
  const [stdout, stderr, exitCode] = await Promise.all([
    child.stdout.text(),
    child.stderr.text(),
    child.exited,
  ]);
  return { stdout, stderr, exitCode };
}

const VERSION = new RegExp(
  `^modelrelay ${packageJson.version.replaceAll(".", "\\.")} \\(([0-9a-f]{10}(-dirty)?|unknown), ${hostPlatform()}\\)\n$`,
);

test("The executable says its version, commit and platform", async () => {
  const { stdout, stderr, exitCode } = await run([binaryPath(), "--version"], tmpdir());
  expect(stdout).toMatch(VERSION);
  expect({ stderr, exitCode }).toEqual({ stderr: "", exitCode: 0 });
});

test("A program run from sources says that it is no build", async () => {
  const { stdout } = await run([process.execPath, CLI, "--version"], tmpdir());
  expect(stdout).toStartWith(`modelrelay ${packageJson.version} (dev, `);
});

test("The folder of this test is hostile: Bun itself obeys it", async () => {
  using folder = await hostileFolder();
  const { stdout } = await run([process.execPath, "-e", "0"], folder.dir);
  expect(stdout).toBe("PRELOADED from-dotenv\n");
});

test("The executable runs no code from the folder it is started in", async () => {
  using folder = await hostileFolder();
  const { stdout, exitCode } = await run([binaryPath(), "--version"], folder.dir);
  expect(stdout).toMatch(VERSION);
  expect(exitCode).toBe(0);
});

test("The executable takes no settings from a .env in the folder it is started in", async () => {
  using folder = await hostileFolder();
  const serve = ["serve", "--queue-timeout", "never"];
  // Run from sources the .env counts, and its address is refused before the flag is.
  const fromSources = await run([process.execPath, CLI, ...serve], folder.dir);
  expect(fromSources.stderr).toContain('"not-an-address"');
  const executable = await run([binaryPath(), ...serve], folder.dir);
  expect(executable.stderr).toContain('"never"');
});
