import { createHash } from "node:crypto";
import { readFileSync, readlinkSync } from "node:fs";
import { hostname } from "node:os";
import { errorCode } from "../../base/errors.ts";

/** A process, so that another one can find out whether it still lives. */
export interface ProcessIdentity {
  /** The machine since its start, and the set of process numbers (containers have their own). */
  host: string;
  pid: number;
  /** When it began, in the system's own count: a process number is given again. Linux alone says it. */
  startedAt?: string | undefined;
}

/** Who this process is. */
export function thisProcess(): ProcessIdentity {
  return { host: hostTag(), pid: process.pid, startedAt: startOf(process.pid) };
}

/** Sure that the process has ended? One on another host may live, as far as can be seen from here. */
export function hasEnded(other: ProcessIdentity, here: ProcessIdentity): boolean {
  if (other.host !== here.host) return false;
  try {
    process.kill(other.pid, 0);
  } catch (thrown) {
    return errorCode(thrown) === "ESRCH";
  }
  const startedAt = startOf(other.pid);
  return startedAt !== undefined && other.startedAt !== undefined && startedAt !== other.startedAt;
}

let knownTag: string | undefined;

function hostTag(): string {
  knownTag ??= createHash("sha256")
    .update([hostname(), bootId(), processNamespace()].join("\n"))
    .digest("hex")
    .slice(0, 8);
  return knownTag;
}

function bootId(): string {
  return orEmpty(() => readFileSync("/proc/sys/kernel/random/boot_id", "utf8"));
}

function processNamespace(): string {
  return orEmpty(() => readlinkSync("/proc/self/ns/pid"));
}

/** Field 22 of /proc/PID/stat (proc(5)); the name in field 2 may hold spaces and brackets. */
function startOf(pid: number): string | undefined {
  const text = orEmpty(() => readFileSync(`/proc/${pid}/stat`, "utf8"));
  return text === "" ? undefined : text.slice(text.lastIndexOf(")") + 2).split(" ")[19];
}

/** Only Linux has these files. */
function orEmpty(read: () => string): string {
  try {
    return read();
  } catch {
    return "";
  }
}
