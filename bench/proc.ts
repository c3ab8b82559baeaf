import { readFileSync, readdirSync } from "node:fs";

/** Ticks a second of the times in `/proc` (USER_HZ; 100 on every Linux that Bun runs on). */
const TICKS_PER_SECOND = 100;

function read(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return ""; // the process ended meanwhile
  }
}

/** Fields of `/proc/PID/stat` from the third on: the second is a name that may hold spaces. */
function statFields(pid: number): string[] {
  const text = read(`/proc/${pid}/stat`);
  return text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/** `pid` and every process beneath it. */
export function processTree(pid: number): number[] {
  const tree = [pid];
  for (let i = 0; i < tree.length; i++) {
    let tasks: string[] = [];
    try {
      tasks = readdirSync(`/proc/${tree[i]}/task`);
    } catch {
      continue;
    }
    for (const task of tasks) {
      const children = read(`/proc/${tree[i]}/task/${task}/children`).trim();
      if (children !== "") tree.push(...children.split(" ").map(Number));
    }
  }
  return tree;
}

/** CPU seconds, user and system, of these processes and everything beneath them; 10 ms steps. */
export function cpuSeconds(pids: readonly number[]): number {
  const all = new Set(pids.flatMap(processTree));
  let ticks = 0;
  for (const pid of all) {
    const fields = statFields(pid);
    ticks += Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  }
  return ticks / TICKS_PER_SECOND;
}

/** Resident memory of these processes and everything beneath them, in bytes. Shared pages count in each. */
export function residentBytes(pids: readonly number[]): number {
  let kilobytes = 0;
  for (const pid of new Set(pids.flatMap(processTree))) {
    kilobytes += Number(/^VmRSS:\s+(\d+)/m.exec(read(`/proc/${pid}/status`))?.[1] ?? 0);
  }
  return kilobytes * 1024;
}

/** Busy CPU seconds of the whole machine since it started. */
export function machineCpuSeconds(): number {
  const [user = 0, nice = 0, system = 0, , , irq = 0, softirq = 0] =
    read("/proc/stat").split("\n")[0]?.split(/\s+/).slice(1).map(Number) ?? [];
  return (user + nice + system + irq + softirq) / TICKS_PER_SECOND;
}
