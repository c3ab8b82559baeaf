import { readFileSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { commit, platform, version } from "../../base/build-info.ts";
import { labelText, type Exposition } from "./exposition.ts";

const OPEN_FILES = "/proc/self/fd";

/** Figures of the process, under the names that Prometheus' own libraries give them. */
export class ProcessMetrics {
  readonly #startedAt: number;
  readonly #maxFiles = maxOpenFiles();

  /** @param wallMs now, since the epoch */
  constructor(wallMs: number) {
    this.#startedAt = wallMs / 1_000 - process.uptime();
  }

  /** @param openFiles as `countOpenFiles` has found */
  write(out: Exposition, openFiles: number | undefined): void {
    out.family("modelrelay_build_info", "gauge", "Always 1; its labels say what is running");
    out.sample(labelText({ version, commit, platform }), 1);
    const { user, system } = process.cpuUsage();
    out.single(
      "process_cpu_seconds_total",
      "counter",
      "CPU time, of user and system together",
      (user + system) / 1e6,
    );
    out.single("process_resident_memory_bytes", "gauge", "Memory that is in RAM", process.memoryUsage.rss());
    out.single("process_open_fds", "gauge", "Open files and connections", openFiles);
    out.single("process_max_fds", "gauge", "Files and connections that may be open", this.#maxFiles);
    out.single(
      "process_start_time_seconds",
      "gauge",
      "When the process started, since the epoch",
      this.#startedAt,
    );
  }
}

/** @returns `undefined` where the system does not say. Not on the event loop: there can be thousands. */
export async function countOpenFiles(): Promise<number | undefined> {
  try {
    // One of them is the folder itself, while it is read.
    return (await readdir(OPEN_FILES)).length - 1;
  } catch {
    return undefined;
  }
}

function maxOpenFiles(): number | undefined {
  try {
    const soft = /^Max open files\s+(\d+)/m.exec(readFileSync("/proc/self/limits", "utf8"))?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}
