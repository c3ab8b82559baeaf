import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import type { CheckResult, Outcome } from "../base/check-result.ts";
import type { Clock } from "../base/clock.ts";
import { errorCode, messageOf } from "../base/errors.ts";
import { oneLine } from "../base/one-line.ts";

/** The steps in their order; a result carries one of these names. */
export const DOCTOR_STEPS = [
  "program",
  "settings",
  "secret files",
  "environment",
  "proxies",
  "memory",
  "open files",
  "relay here",
  "relay dialled",
  "clock",
  "port",
  "data directory",
  "files in it",
  "disk",
  "database",
  "tables",
  "integrity",
  "rows",
  "writing",
] as const;
export type DoctorStep = (typeof DOCTOR_STEPS)[number];
export type DoctorResult = CheckResult<DoctorStep>;

/** What the machine is looked at through. */
export interface Machine {
  clock: Clock;
  env: Readonly<Record<string, string | undefined>>;
  platform: NodeJS.Platform;
  /** Directory in which `proc`, `sys` and `etc` are. */
  root: string;
  /** User of this process; `undefined` where the system has none. */
  uid: number | undefined;
  /** How the system keeps its clock, as adjtimex(2) gives it; `undefined` where it does not say. */
  timeState: () => number | undefined;
}

/** A relay that runs on this machine, as its file says. */
export interface RelayHere {
  url: string;
  pid: number;
}

export function good(target: string, details: string): Outcome {
  return { target, ok: true, details };
}

export function skipped(target: string, details: string): Outcome {
  return { target, ok: undefined, details };
}

/** Works, and somebody should look at it. */
export function doubtful(target: string, details: string, action: string): Outcome {
  return { target, ok: true, warning: true, details, action };
}

export function bad(target: string, details: string, action?: string): Outcome {
  return { target, ok: false, details, ...(action !== undefined && { action }) };
}

/** A file of the system; `undefined` if it is not there or not for this user. */
export function systemText({ root }: Machine, path: string): string | undefined {
  try {
    return readFileSync(join(root, path), "utf8");
  } catch {
    return undefined;
  }
}

/** A user by name if the machine knows one, else by number. */
export function userName(machine: Machine, uid: number): string {
  const lines = systemText(machine, "etc/passwd")?.split("\n") ?? [];
  const [name] = lines.find((line) => line.split(":")[2] === String(uid))?.split(":") ?? [];
  return name ?? `user ${uid}`;
}

/** Whom a process belongs to. */
export function userOfProcess({ root }: Machine, pid: number): number | undefined {
  return statSync(join(root, "proc", String(pid)), { throwIfNoEntry: false })?.uid;
}

/** The path itself, or the directory nearest above it that is there. */
export function nearestExisting(path: string): string {
  let place = path;
  while (!existsSync(place) && dirname(place) !== place) place = dirname(place);
  return place;
}

/** What to do where the rights of a user end. */
export const AS_USER = "Run this as the relay's user, or as root";

/** What was thrown, in words for the end of a sentence: a code of the system, or what an error says. */
export function why(thrown: unknown): string {
  const words: Record<string, string> = {
    EACCES: "not allowed",
    EPERM: "not allowed",
    EROFS: "the file system is mounted for reading alone",
    ENOENT: "there is no such file",
    ENOTDIR: "a part of the path is a file",
  };
  return words[errorCode(thrown) ?? ""] ?? oneLine(messageOf(thrown));
}
