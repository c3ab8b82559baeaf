import { join } from "node:path";
import { binaryPath } from "../support/binary.ts";
import { startCuttingProxy, type CuttingProxy } from "../support/cutting-proxy.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import { Inbox } from "../support/inbox.ts";
import type { FromBackend, ToBackend } from "./matrix-backend.ts";
import { CAPACITY, type Ground, type Run } from "./matrix-stage.ts";
import { Program } from "./processes.ts";
import { healthAt } from "./rig.ts";

/** The fake backend, in a process that can be killed and stopped. */
export class BackendProcess implements AsyncDisposable {
  readonly url: Promise<string>;
  readonly #asked = new Inbox<Run>();
  readonly #child: Bun.Subprocess;
  readonly #gone = new Map<number, PromiseWithResolvers<void>>();

  constructor() {
    const listening = Promise.withResolvers<string>();
    this.url = listening.promise;
    this.#child = Bun.spawn([process.execPath, join(import.meta.dir, "matrix-backend.ts")], {
      stdio: ["ignore", "inherit", "inherit"],
      ipc: (message: FromBackend) => {
        if (message.kind === "listening") listening.resolve(message.url);
        else if (message.kind === "closed") this.#gone.get(message.id)?.resolve();
        else this.#asked.put(this.#runOf(message.id, message.body));
      },
      onExit: () => {
        for (const gone of this.#gone.values()) gone.resolve();
      },
    });
  }

  next(): Promise<Run> {
    return this.#asked.next();
  }

  signal(name: "SIGKILL" | "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(name);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.exited;
  }

  #runOf(id: number, body: string): Run {
    const gone = Promise.withResolvers<void>();
    this.#gone.set(id, gone);
    const tell = (message: ToBackend): void => this.#child.send(message);
    return {
      json: () => JSON.parse(body) as unknown,
      head: (status, headers = {}) => tell({ id, act: "head", status, headers }),
      write: (data) => tell({ id, act: "write", data }),
      end: () => tell({ id, act: "end" }),
      closed: gone.promise,
    };
  }
}

/** Relay, link and worker of the executable, with a backend. */
export interface MatrixFleet extends AsyncDisposable {
  ground: Ground;
  relay: Program;
  worker: Program;
  link: CuttingProxy;
  /** Starts the relay that was ended, on its port. */
  relayAgain(): Promise<void>;
  /** Starts another worker. */
  workerAgain(): void;
}

/** @param backend absent for one in this process */
export async function startMatrixFleet(
  serveFlags: readonly string[] = [],
  backend?: BackendProcess,
): Promise<MatrixFleet> {
  const stack = new AsyncDisposableStack();
  const start = (command: "serve" | "worker", flags: string[]) =>
    stack.use(new Program(command, flags, [binaryPath()]));
  const serve = (port: number) => start("serve", [`--listen=127.0.0.1:${port}`, ...serveFlags]);
  const played = backend ?? stack.use(await startFakeBackend(["m"]));
  const backendUrl = await played.url;
  const relay = serve(0);
  const url = await relay.url();
  const port = Number(new URL(url).port);
  const link = stack.use(await startCuttingProxy({ target: port }));
  const dial = () =>
    start("worker", [
      `--proxy-url=${link.url}`,
      `--backend-url=${backendUrl}`,
      "--models=m",
      `--max-concurrency=${CAPACITY}`,
    ]);
  const worker = dial();
  const ground: Ground = {
    port,
    backend: played,
    link() {
      const [connection] = link.open;
      if (connection === undefined) throw new Error("The worker has no link");
      return connection;
    },
    health: (when) => healthAt(url, when),
  };
  await ground.health((health) => health["workers_connected"] === 1);
  return {
    ground,
    relay,
    worker,
    link,
    async relayAgain() {
      await serve(port).url();
    },
    workerAgain: () => void dial(),
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  };
}
