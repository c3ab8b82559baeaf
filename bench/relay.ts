import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Child, awaitReady, freePort, startChild } from "./child.ts";
import type { Subject } from "./subject.ts";

/** Time for the relay to listen and the worker to register. */
const READY_MS = 20_000;

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
    const relay = startChild("serve", [binary, "serve", "--listen", `127.0.0.1:${port}`], dir, env);
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
    return { name, baseUrl, processes: { relay: [relay.pid], worker: [worker.pid] }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}
