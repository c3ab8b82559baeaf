import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { Problem } from "../src/base/errors.ts";
import { type Child, awaitReady, freePort, startChild } from "./child.ts";
import type { Subject } from "./subject.ts";

/** Time for the relay to listen and the worker to register. */
const READY_MS = 20_000;

/** Limits that are looked after and never reached. */
const FAR_LIMITS = ["--rpm=100000000", "--tpm=1000000000", "--concurrency=100000"];

/** What a relay looks after for each request. */
export type Care =
  /** As it comes: no key is asked for, and usage is kept. */
  | "default"
  /** Neither keys nor limits nor usage. */
  | "bare"
  /** A key of its database, limits of that key and of the relay, a budget, and usage. */
  | "full";

async function careFlags(
  care: Care,
  binary: string,
  cwd: string,
  env: Record<string, string>,
): Promise<{ flags: string[]; key: string }> {
  if (care !== "full") return { flags: care === "bare" ? ["--usage-retention=0"] : [], key: "" };
  const budget = ["--budget-tokens=1000000000000", "--budget-period=month"];
  const command = [binary, "keys", "create", "bench", ...FAR_LIMITS, ...budget];
  const child = Bun.spawn(command, { cwd, env: { PATH: process.env["PATH"] ?? "", ...env }, stderr: "pipe" });
  const [key, complaint, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Problem(`Cannot make a key with ${binary}: ${complaint.trim()}`);
  return {
    flags: ["--require-api-keys", ...FAR_LIMITS.map((flag) => flag.replace("--", "--relay-"))],
    key: key.trim(),
  };
}

/**
 * Starts `serve` and `worker` of an executable in front of the backend, with nothing set that an
 * operator would not set.
 *
 * @param name of the subject; distinguishes two executables in one run
 * @throws {Problem} if no worker is connected within 20 s, with what the two said
 */
export async function startRelay(
  name: string,
  binary: string,
  backend: URL,
  workDir: string,
  care: Care = "default",
): Promise<Subject> {
  const dir = join(workDir, name);
  mkdirSync(dir, { recursive: true, mode: 0o700 });
  const port = freePort();
  const baseUrl = `http://127.0.0.1:${port}`;
  // HOME and the data folders point into the run's own folder: it must not touch the user's relay.
  const env = {
    WORKER_SECRET: crypto.randomUUID(),
    HOME: dir,
    XDG_DATA_HOME: dir,
    XDG_CONFIG_HOME: dir,
    XDG_STATE_HOME: dir,
  };
  const children: Child[] = [];
  const stop = async () => {
    for (const child of children.toReversed()) await child[Symbol.asyncDispose]();
  };
  try {
    const { flags, key } = await careFlags(care, binary, dir, env);
    const listen = ["--listen", `127.0.0.1:${port}`];
    const relay = startChild("serve", [binary, "serve", ...listen, ...flags], dir, env);
    children.push(relay);
    await awaitReady(`${name} serve`, [relay], READY_MS, async () =>
      (await fetch(`${baseUrl}/health`, { proxy: false })).ok ? true : undefined,
    );
    const worker = startChild(
      "worker",
      [
        binary,
        "worker",
        "--proxy-url",
        baseUrl,
        "--backend-url",
        backend.origin,
        "--models",
        "*",
        "--max-concurrency",
        "4096",
      ],
      dir,
      env,
    );
    children.push(worker);
    await awaitReady(`${name} worker`, [relay, worker], READY_MS, async () => {
      const health = (await (await fetch(`${baseUrl}/health`, { proxy: false })).json()) as {
        workers_connected?: number;
      };
      return health.workers_connected === 1 ? true : undefined;
    });
    const address = key === "" ? baseUrl : baseUrl.replace("//", `//${key}@`);
    return { name, baseUrl: address, processes: { relay: [relay.pid], worker: [worker.pid] }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
