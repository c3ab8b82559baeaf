import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { healthAt } from "../faults/rig.ts";
import { binaryPath } from "../support/binary.ts";
import { newDataDir } from "../support/data-dir.ts";
import { SECRET } from "../support/relays.ts";

/** What a process holds of the machine. */
export interface Holdings {
  /** Memory in RAM now and at most, in bytes (`VmRSS`, `VmHWM` in proc_pid_status(5)). */
  memory: number;
  peak: number;
  /** Open sockets, and all that is open. */
  sockets: number;
  files: number;
}

/** `/proc` of a process. Linux alone has it. */
export function holdingsOf(pid: number): Holdings {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const bytes = (field: string) =>
    Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1]) * 1024;
  const open = readdirSync(`/proc/${pid}/fd`).map((fd) => {
    try {
      return readlinkSync(`/proc/${pid}/fd/${fd}`);
    } catch {
      return "";
    }
  });
  const sockets = open.filter((target) => target.startsWith("socket:")).length;
  return { memory: bytes("VmRSS"), peak: bytes("VmHWM"), sockets, files: open.length };
}

/** The executable, at work. */
export class BinaryProgram implements AsyncDisposable {
  readonly #child: Bun.Subprocess<"ignore", "ignore", "pipe">;
  readonly #url = Promise.withResolvers<string>();
  #log = "";

  constructor(command: "serve" | "worker", flags: readonly string[]) {
    this.#child = Bun.spawn([binaryPath(), command, ...flags], {
      // Nothing of the tests' own settings: a user's environment has none of them.
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: process.env["HOME"] ?? "",
        MODELRELAY_DATA_DIR: newDataDir(),
        WORKER_SECRET: SECRET,
      },
      stdio: ["ignore", "ignore", "pipe"],
    });
    this.#url.promise.catch(() => {});
    void this.#follow();
  }

  get pid(): number {
    return this.#child.pid;
  }

  get log(): string {
    return this.#log;
  }

  /** Address that `serve` listens on. */
  url(): Promise<string> {
    return this.#url.promise;
  }

  holdings(): Holdings {
    return holdingsOf(this.#child.pid);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  async #follow(): Promise<void> {
    const decoder = new TextDecoder();
    for await (const part of this.#child.stderr) {
      // The last words are what a failing test wants to see.
      this.#log = (this.#log + decoder.decode(part, { stream: true })).slice(-200_000);
      const url = /http:\/\/127\.0\.0\.1:\d+/.exec(this.#log)?.[0];
      if (url !== undefined) this.#url.resolve(url);
    }
    this.#url.reject(new Error(`The program ended before it listened:\n${this.#log}`));
  }
}

/** A relay and its workers, each a process of the executable. */
export interface BinaryFleet extends AsyncDisposable {
  relay: BinaryProgram;
  workers: BinaryProgram[];
  url: string;
  port: number;
  health<T extends Record<string, unknown>>(when: (health: T) => boolean): Promise<T>;
}

export interface FleetOptions {
  serve?: string[];
  worker?: string[];
  /** How many workers; one unless given. */
  workers?: number;
  /** Where the workers dial, if not the relay itself. */
  linkUrl?: (relayUrl: string) => Promise<string>;
}

/** Resolves once every worker offers the backend's models. */
export async function startBinaryFleet(backendUrl: string, options: FleetOptions = {}): Promise<BinaryFleet> {
  const { workers: count = 1, serve = [], worker = [], linkUrl } = options;
  await using stack = new AsyncDisposableStack();
  const relay = stack.use(new BinaryProgram("serve", ["--listen=127.0.0.1:0", ...serve]));
  const url = await relay.url();
  const link = linkUrl === undefined ? url : await linkUrl(url);
  const flags = [`--proxy-url=${link}`, `--backend-url=${backendUrl}`, ...worker];
  const workers = Array.from({ length: count }, () => stack.use(new BinaryProgram("worker", flags)));
  const health: BinaryFleet["health"] = (when) => healthAt(url, when);
  await health<{ workers: { models: string[] }[] }>(
    (now) => now.workers.filter(({ models }) => models.length > 0).length === count,
  );
  const kept = stack.move();
  return {
    relay,
    workers,
    url,
    port: Number(new URL(url).port),
    health,
    [Symbol.asyncDispose]: () => kept.disposeAsync(),
  };
}
