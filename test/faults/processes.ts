import { readFileSync } from "node:fs";
import { join } from "node:path";
import { newDataDir } from "../support/data-dir.ts";
import { SECRET } from "../support/relays.ts";
import { healthAt } from "./rig.ts";

/** How the program is started from its sources. */
const FROM_SOURCES = [process.execPath, join(import.meta.dir, "../../src/cli.ts")];

/** One of our programs in a process of its own. */
export class Program implements AsyncDisposable {
  readonly exited: Promise<number>;
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #started: Promise<string>;
  #log = "";

  /** @param start the executable, and what stands before the command */
  constructor(command: "serve" | "worker", flags: string[], start: readonly string[] = FROM_SOURCES) {
    this.#child = Bun.spawn([...start, command, ...flags], {
      // Nothing of the tests' own settings: a user's environment has none of them.
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: process.env["HOME"] ?? "",
        MODELRELAY_DATA_DIR: newDataDir(),
        WORKER_SECRET: SECRET,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.exited = this.#child.exited;
    const started = Promise.withResolvers<string>();
    this.#started = started.promise;
    void this.#follow(started);
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** What it wrote to stderr. */
  get log(): string {
    return this.#log;
  }

  /** Address that `serve` listens on. */
  url(): Promise<string> {
    return this.#started;
  }

  signal(name: "SIGTERM" | "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(name);
  }

  /** Memory in bytes that is in RAM now, and the most that was (`VmRSS`, `VmHWM` in proc_pid_status(5)). */
  memory(): { now: number; peak: number } {
    const status = readFileSync(`/proc/${this.pid}/status`, "utf8");
    const bytes = (field: string) =>
      Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
    return { now: bytes("VmRSS"), peak: bytes("VmHWM") };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.exited;
  }

  async #follow(started: PromiseWithResolvers<string>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const part of this.#child.stderr) {
      this.#log += decoder.decode(part, { stream: true });
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(this.#log)?.[0];
      if (url !== undefined) started.resolve(url);
    }
    started.reject(new Error(`The program ended before it listened:\n${this.#log}`));
    started.promise.catch(() => {});
  }
}

export interface Fleet extends AsyncDisposable {
  relay: Program;
  worker: Program;
  url: string;
  port: number;
  health<T extends Record<string, unknown>>(when: (health: T) => boolean): Promise<T>;
}

/** Relay and worker, each in its process; resolves once the worker offers the backend's models. */
export async function startFleet(
  backendUrl: string,
  flags: { serve?: string[]; worker?: string[] } = {},
): Promise<Fleet> {
  const stack = new AsyncDisposableStack();
  const relay = stack.use(new Program("serve", ["--listen=127.0.0.1:0", ...(flags.serve ?? [])]));
  const url = await relay.url();
  const worker = stack.use(startWorkerProgram(url, backendUrl, flags.worker));
  const health: Fleet["health"] = (when) => healthAt(url, when);
  await health<{ workers: { models: string[] }[] }>(({ workers }) => (workers[0]?.models.length ?? 0) > 0);
  return {
    relay,
    worker,
    url,
    port: Number(new URL(url).port),
    health,
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}

export function startWorkerProgram(relayUrl: string, backendUrl: string, flags: string[] = []): Program {
  return new Program("worker", [
    `--proxy-url=${relayUrl}`,
    `--backend-url=${backendUrl}`,
    "--models=*",
    ...flags,
  ]);
}
