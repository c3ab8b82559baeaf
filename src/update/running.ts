import { readdirSync, readFileSync, statSync } from "node:fs";

/** A process that runs an executable which has been replaced. */
export interface Running {
  pid: number;
  /** The systemd unit that it belongs to, without `.service`. */
  service: string | undefined;
}

function serviceOf(pid: number): string | undefined {
  const groups = readFileSync(`/proc/${pid}/cgroup`, "utf8");
  return /([^/\n]+)\.service$/m.exec(groups)?.[1];
}

/**
 * Other processes of this machine that run a file, as far as this user may see them.
 *
 * @returns `undefined` where the system does not tell
 */
export function processesOf(path: string): Running[] | undefined {
  if (process.platform !== "linux") return undefined;
  const { ino, dev } = statSync(path);
  const found: Running[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!(pid > 0) || pid === process.pid) continue;
    try {
      const running = statSync(`/proc/${pid}/exe`);
      if (running.ino === ino && running.dev === dev) found.push({ pid, service: serviceOf(pid) });
    } catch {
      // Another user's, or gone by now.
    }
  }
  return found;
}
