import { readdirSync, readFileSync, statSync, type Stats } from "node:fs";

/** A process that runs an executable which has been replaced. */
export interface Running {
  pid: number;
  /** The arguments of `modelrelay service restart` for it; `undefined` where it is no service of ours. */
  service: string | undefined;
}

/** Which service a control group of systemd belongs to, by the names that `modelrelay service` gives its units. */
export function serviceOf(group: string): string | undefined {
  const unit = /\/([^/\n]+)\.service$/m.exec(group)?.[1] ?? "";
  // Whoever made the group has chosen its name, which is shown as part of a command.
  const [, worker] = /^modelrelay(?:-worker@([A-Za-z0-9][\w.-]*))?$/.exec(unit) ?? [undefined];
  if (worker === undefined && unit !== "modelrelay") return undefined;
  const isOfUser = /\/user@\d+\.service\//.test(group);
  return `${worker === undefined ? "serve" : `worker ${worker}`}${isOfUser ? " --user" : ""}`;
}

/**
 * Other processes of this machine that run a file, as far as this user may see them.
 *
 * @param file as it was found, under whichever name it is now
 * @returns `undefined` where the system does not tell
 */
export function processesOf({ ino, dev }: Pick<Stats, "ino" | "dev">): Running[] | undefined {
  if (process.platform !== "linux") return undefined;
  const found: Running[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!(pid > 0) || pid === process.pid) continue;
    try {
      const running = statSync(`/proc/${pid}/exe`);
      if (running.ino !== ino || running.dev !== dev) continue;
      found.push({ pid, service: serviceOf(readFileSync(`/proc/${pid}/cgroup`, "utf8")) });
    } catch {
      // Another user's, or gone by now.
    }
  }
  return found;
}
