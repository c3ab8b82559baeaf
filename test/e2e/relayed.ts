import Anthropic from "@anthropic-ai/sdk";
import OpenAI from "openai";
import { startModelrelay, type Program } from "./program.ts";

export const SECRET = "end-to-end-secret";

export interface RelayedOptions {
  backendUrl: string;
  /** Value of `--models`; `*` unless given. */
  models?: string;
  /** Further flags. */
  serve?: string[];
  worker?: string[];
}

/** The executable as relay and as worker, in a process each, in front of a backend. */
export interface Relayed extends AsyncDisposable {
  url: string;
  serve: Program;
  /** The worker that was started last. */
  readonly worker: Program;
  openai: OpenAI;
  anthropic: Anthropic;
  /** Starts another worker like the first; resolves once the relay has it. */
  startWorker(): Promise<Program>;
  post(path: string, body: unknown, init?: RequestInit): Promise<Response>;
}

/** Resolves once the worker's models can be asked for. */
export async function startRelayed(options: RelayedOptions): Promise<Relayed> {
  await using started = new AsyncDisposableStack();
  /** Whoever ends the processes: this function if it fails, afterwards its caller. */
  let processes: AsyncDisposableStack = started;
  const env = { WORKER_SECRET: SECRET };
  const serve = processes.use(
    startModelrelay(["serve", "--listen", "127.0.0.1:0", ...(options.serve ?? [])], { env }),
  );
  const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);

  async function startWorker(): Promise<Program> {
    const next = processes.use(
      startModelrelay(
        [
          "worker",
          `--proxy-url=${url}`,
          `--backend-url=${options.backendUrl}`,
          `--models=${options.models ?? "*"}`,
          ...(options.worker ?? []),
        ],
        { env },
      ),
    );
    await next.until(/Connected to the relay .*models=\S/);
    return next;
  }

  let worker = await startWorker();
  processes = started.move();
  return {
    url,
    serve,
    get worker() {
      return worker;
    },
    openai: new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 }),
    anthropic: new Anthropic({ baseURL: url, apiKey: "none", maxRetries: 0 }),
    startWorker: async () => (worker = await startWorker()),
    post: (path, body, init = {}) =>
      fetch(url + path, {
        method: "POST",
        ...init,
        headers: { "content-type": "application/json", ...(init.headers as Record<string, string>) },
        body: JSON.stringify(body),
      }),
    [Symbol.asyncDispose]: () => processes.disposeAsync(),
  };
}
