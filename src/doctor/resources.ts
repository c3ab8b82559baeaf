import { readdirSync } from "node:fs";
import { cpus, totalmem } from "node:os";
import { join } from "node:path";
import { formatBytes } from "../base/bytes.ts";
import type { Outcome } from "../base/check-result.ts";
import { bad, doubtful, good, skipped, systemText, type Machine, type RelayHere } from "./context.ts";

/** What this machine's ends are set up to take. */
export interface Demand {
  /** Requests that may wait, at a relay. */
  queue: number | undefined;
  /** Bytes of bodies that a relay may hold. */
  heldBytes: number | undefined;
  /** Requests that a worker serves at once. */
  concurrency: number | undefined;
}

/** The database, threads, logs, listeners, and what the runtime opens for itself. */
const OWN_FILES = 128;
/** A thousand workers and three thousand clients. */
const AMPLE_FILES = 4_096;
/** Of the limit, that is in use: beyond it the next crowd of clients is turned away. */
const NEARLY_ALL = 0.8;
const RAISE_FILES =
  "Raise it: LimitNOFILE=65536 in the unit, ulimit -n 65536 in a shell, --ulimit nofile=65536 for a container";

/** A relay takes 73 MB after its start and 96 MB after 20,000 requests (docs/operations.md), and bodies besides. */
const OWN_MEMORY = 192 * 1024 * 1024;

/** Each client, each worker and each request at a backend takes one. */
export function checkOpenFiles(
  machine: Machine,
  { queue, concurrency }: Demand,
  running: RelayHere | undefined,
): Outcome {
  const limits = filesOf(machine, running?.pid ?? "self");
  if (limits === undefined) {
    const hint = machine.platform === "win32" ? "this system has no such limit" : "see: ulimit -Hn";
    return skipped("", hint);
  }
  const needed = OWN_FILES + (queue ?? 0) + 2 * (concurrency ?? 0);
  // The runtime raises the soft limit to the hard one when it starts.
  const limit = running === undefined ? limits.hard : limits.soft;
  const whose = running === undefined ? "" : `the relay, process ${running.pid}`;
  const used = running && usedFiles(machine, running.pid);
  const details = `${told(limit)} may be open at once${used === undefined ? "" : `, ${used} are`}`;
  if (limit < needed) return bad(whose, `${details}; ${needed} are needed`, RAISE_FILES);
  if (used !== undefined && used > limit * NEARLY_ALL) return bad(whose, details, RAISE_FILES);
  if (limit < AMPLE_FILES && queue !== undefined) {
    return doubtful(
      whose,
      `${details}: few for a relay, whose clients and workers each take one`,
      RAISE_FILES,
    );
  }
  return good(whose, details);
}

function told(limit: number): string {
  return Number.isFinite(limit) ? String(limit) : "any number";
}

function filesOf(machine: Machine, pid: number | "self"): { soft: number; hard: number } | undefined {
  const line = systemText(machine, `proc/${pid}/limits`)
    ?.split("\n")
    .find((text) => text.startsWith("Max open files"));
  const [, soft, hard] = /^Max open files\s+(\S+)\s+(\S+)/.exec(line ?? "") ?? [];
  if (soft !== undefined && hard !== undefined) return { soft: limitOf(soft), hard: limitOf(hard) };
  if (machine.platform === "linux" || machine.platform === "win32") return undefined;
  // Elsewhere only a shell tells.
  const said = Bun.spawnSync(["sh", "-c", "ulimit -Sn; ulimit -Hn"]).stdout.toString().trim().split("\n");
  return said.length === 2 ? { soft: limitOf(said[0] ?? ""), hard: limitOf(said[1] ?? "") } : undefined;
}

function limitOf(text: string): number {
  return text === "unlimited" ? Number.POSITIVE_INFINITY : Number(text);
}

/** Files that a process has open; `undefined` if it belongs to another user. */
function usedFiles({ root }: Machine, pid: number): number | undefined {
  try {
    return readdirSync(join(root, "proc", String(pid), "fd")).length;
  } catch {
    return undefined;
  }
}

/** What may be taken at once against what there is, for the relay that runs or for this process. */
export function checkMemory(
  machine: Machine,
  { heldBytes }: Demand,
  running: RelayHere | undefined,
): Outcome {
  const limit = memoryLimit(machine, running?.pid ?? "self");
  const total = memoryOf(machine);
  const most = Math.min(limit ?? total, total);
  const bound =
    limit === undefined || limit >= total ? "" : ` of ${formatBytes(total)}, by a limit of its control group`;
  const details = `${formatBytes(most)}${bound}; ${processors(machine)}`;
  const needed = OWN_MEMORY + (heldBytes ?? 0);
  if (most >= needed) return good("", details);
  if (most < OWN_MEMORY) {
    return bad("", details, `Give it at least ${formatBytes(OWN_MEMORY)}`);
  }
  const room = Math.max(1, Math.floor((most - OWN_MEMORY) / 1024 ** 2));
  return doubtful(
    "",
    `${details}; bodies and answers alone may take ${formatBytes(heldBytes ?? 0)} (--max-inflight-bytes)`,
    `Raise the limit, or start serve with --max-inflight-bytes ${room}MiB`,
  );
}

function memoryOf(machine: Machine): number {
  const kilobytes = /^MemTotal:\s+(\d+) kB/m.exec(systemText(machine, "proc/meminfo") ?? "")?.[1];
  return kilobytes === undefined ? totalmem() : Number(kilobytes) * 1024;
}

function processors(machine: Machine): string {
  const count = cpus().length;
  const words = `${count} ${count === 1 ? "processor" : "processors"}`;
  const flags = systemText(machine, "proc/cpuinfo")?.match(/^flags\s*:.*$/m)?.[0];
  return flags === undefined || flags.includes(" avx2") ? words : `${words} without AVX2`;
}

/**
 * The least limit between a process and the root of its control groups, of version 2 (`memory.max`) and
 * version 1 (`memory.limit_in_bytes`, a number beyond all memory where there is none).
 */
function memoryLimit(machine: Machine, pid: number | "self"): number | undefined {
  const groups = systemText(machine, `proc/${pid}/cgroup`)?.trim().split("\n") ?? [];
  const limits = groups.flatMap((line) => {
    const [, controllers = "", path = "/"] = /^\d+:([^:]*):(.*)$/.exec(line) ?? [];
    if (controllers === "") return limitsAbove(machine, "sys/fs/cgroup", path, "memory.max");
    if (!controllers.split(",").includes("memory")) return [];
    return limitsAbove(machine, "sys/fs/cgroup/memory", path, "memory.limit_in_bytes");
  });
  return limits.length === 0 ? undefined : Math.min(...limits);
}

function limitsAbove(machine: Machine, base: string, path: string, file: string): number[] {
  const parts = path.split("/").filter((part) => part !== "" && part !== "..");
  return Array.from({ length: parts.length + 1 }, (_, count) =>
    Number(systemText(machine, join(base, ...parts.slice(0, count), file)) ?? Number.NaN),
  ).filter((limit) => Number.isFinite(limit));
}
