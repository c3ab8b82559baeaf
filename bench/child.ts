import { closeSync, openSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../src/base/errors.ts";
import { pause } from "./clock.ts";

/** A process that this run started and ends, with its output in a file. */
export interface Child extends AsyncDisposable {
  readonly pid: number;
  /** Exit code once it has ended. */
  readonly exitCode: number | null;
  /** What it wrote to stdout and stderr so far. */
  output(): string;
}

/** How long a child gets to end after SIGTERM before it is killed. */
const STOP_MS = 5_000;

/** Starts `command`; its output goes to `<logDir>/<name>.log`. */
export function startChild(
  name: string,
  command: string[],
  logDir: string,
  env: Record<string, string> = {},
): Child {
  const logFile = join(logDir, `${name}.log`);
  const log = openSync(logFile, "w");
  const child = Bun.spawn(command, {
    cwd: logDir,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: log,
    stderr: log,
  });
  closeSync(log);
  return {
    pid: child.pid,
    get exitCode() {
      return child.exitCode;
    },
    output: () => readFileSync(logFile, "utf8"),
    async [Symbol.asyncDispose]() {
      child.kill("SIGTERM");
      if ((await Promise.race([child.exited, pause(STOP_MS).then(() => "late" as const)])) === "late")
        child.kill("SIGKILL");
      await child.exited;
    },
  };
}

/**
 * Asks `ready` every 20 ms until it answers something.
 *
 * @throws {Problem} after `limitMs`, or at once when a child it depends on has ended, with the child's last output
 */
export async function awaitReady<T>(
  what: string,
  children: readonly Child[],
  limitMs: number,
  ready: () => Promise<T | undefined>,
): Promise<T> {
  const deadline = performance.now() + limitMs;
  for (;;) {
    const answer = await ready().catch(() => undefined);
    if (answer !== undefined) return answer;
    const dead = children.find((child) => child.exitCode !== null);
    if (dead !== undefined || performance.now() > deadline) {
      const why =
        dead === undefined ? `not ready after ${limitMs} ms` : `its process ended with ${dead.exitCode}`;
      const said = children.map((child) => child.output().trim().slice(-600)).filter((text) => text !== "");
      throw new Problem(
        `Cannot start ${what}: ${why}`,
        said.length === 0 ? {} : { action: `It said: ${said.join("\n")}` },
      );
    }
    await pause(20);
  }
}

/** A TCP port of 127.0.0.1 that was free a moment ago. */
export function freePort(): number {
  const probe = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = probe;
  probe.stop(true);
  return port;
}
