import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { DoctorResult, Machine } from "../../src/doctor/context.ts";
import { systemClock } from "../../src/base/clock.ts";
import { TempDir } from "../commands/reading.ts";

export const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;

/** This machine, with what a test changes of it. */
export function machine(changes: Partial<Machine> = {}): Machine {
  return {
    clock: systemClock,
    env: {},
    platform: process.platform,
    root: "/",
    uid: process.getuid?.(),
    timeState: () => 0,
    ...changes,
  };
}

/** A directory with files of a system in it, such as `proc/meminfo`. */
export class SystemFiles extends TempDir {
  constructor(files: Readonly<Record<string, string>>) {
    super();
    for (const [path, text] of Object.entries(files)) {
      mkdirSync(dirname(join(this.path, path)), { recursive: true });
      writeFileSync(join(this.path, path), text);
    }
  }
}

/** What `modelrelay doctor` said. */
export interface Report {
  /** As `--json` prints them. */
  checks: (Omit<DoctorResult, "ok"> & { ok: boolean | null })[];
  code: number;
  stderr: string;
}

export interface DoctorRun {
  env?: Record<string, string>;
  /** What stands before the program on the command line, such as `prlimit --nofile=100`. */
  under?: readonly string[];
  cwd?: string;
}

/** Runs a command with nothing in its environment but where programs and the user's home are. */
export async function runCli(
  args: readonly string[],
  { env = {}, under = [], cwd }: DoctorRun = {},
): Promise<{ stdout: string; stderr: string; code: number }> {
  const child = Bun.spawn([...under, process.execPath, CLI, ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", ...env },
    stdio: ["ignore", "pipe", "pipe"],
    ...(cwd !== undefined && { cwd }),
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, code: await child.exited };
}

export async function doctor(args: readonly string[], run?: DoctorRun): Promise<Report> {
  const { stdout, stderr, code } = await runCli(["doctor", "--json", ...args], run);
  return { ...(JSON.parse(stdout) as Pick<Report, "checks">), stderr, code };
}

/** What was found at one step, in the form `verdict target: details → action`. */
export function found({ checks }: Pick<Report, "checks">, step: DoctorResult["step"]): string[] {
  return checks
    .filter((check) => check.step === step)
    .map(({ ok, warning, target, details, action }) => {
      const verdict = ok === null ? "skip" : !ok ? "FAIL" : warning === true ? "warn" : "ok";
      return `${verdict} ${target === "" ? "" : `${target}: `}${details}${action === undefined ? "" : ` → ${action}`}`;
    });
}

/** A directory as a relay makes its own. */
export function privateDir(): TempDir {
  const dir = new TempDir();
  chmodSync(dir.path, 0o700);
  return dir;
}

export const isRoot = process.getuid?.() === 0;
export const onLinux = process.platform === "linux";
/** Runs a program as a user without rights; its own files have to be readable for everybody. */
export const AS_NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];

/** Whether such a user can run this program at all: a checkout in a private home keeps it out. */
export const canBeNobody =
  isRoot &&
  Bun.which("setpriv") !== null &&
  Bun.spawnSync([...AS_NOBODY, process.execPath, CLI, "--version"], { env: { HOME: "/nonexistent" } })
    .exitCode === 0;
