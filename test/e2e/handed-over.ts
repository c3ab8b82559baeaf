import { Database } from "bun:sqlite";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { join } from "node:path";
import { binaryPath } from "../support/binary.ts";
import { newDataDir } from "../support/data-dir.ts";
import { startNumberedBackend, type NumberedBackend } from "../support/numbered-backend.ts";
import { runProgram, startModelrelay, startProgram, type Program } from "./program.ts";
import { SECRET } from "./relayed.ts";
import { waitFor } from "./tls-relay.ts";

export interface HandedOverOptions {
  /** Further flags; `--listen` on a free port unless one of them opens another. */
  serve?: string[];
  listen?: boolean;
  worker?: string[];
  /** Requests that the worker runs at once; plenty unless given. */
  capacity?: number;
  /** Variables of the relay. */
  env?: Record<string, string>;
  /** The executable that serves, where it is not the one under test. */
  binary?: string;
}

/** How a client asks, beside what it asks for. */
export type Asking = Pick<BunFetchRequestInit, "protocol">;

/** A relay that asks for keys, with a worker; other processes may take its place. */
export interface HandedOver extends AsyncDisposable {
  /** The process that was the first one. Its output is that of all that follow. */
  first: Program;
  worker: Program;
  backend: NumberedBackend;
  url: string;
  port: number;
  dataDir: string;
  key: string;
  /** Those that have the place, in order; the last one has it now. */
  readonly pids: number[];
  /** Sends SIGUSR2 to the one that has the place, and resolves with the next one's id and the time it took. */
  handOver(): Promise<{ pid: number; ms: number }>;
  /** Resolves once the worker has a link to the one that has the place. */
  arrived(): Promise<void>;
  request(body: object, init?: Asking): Promise<Response>;
  /** Begins a stream. Resolves when it has ended, with whether every byte was that of the backend. */
  stream(user: string, init?: Asking): Promise<boolean>;
  /** What was kept of requests with the key; tokens as far as the backend has counted them. */
  usage(): { rows: number; ids: number; tokens: number };
}

/** Resolves once the worker's model can be asked for. */
export async function startHandedOver(options: HandedOverOptions = {}): Promise<HandedOver> {
  await using started = new AsyncDisposableStack();
  const backend = started.use(startNumberedBackend());
  const dataDir = newDataDir();
  const env = { WORKER_SECRET: SECRET, NO_COLOR: "1", MODELRELAY_DATA_DIR: dataDir };
  const { listen = true, serve = [], binary = binaryPath() } = options;
  const flags = ["serve", "--require-api-keys", ...(listen ? ["--listen=127.0.0.1:0"] : []), ...serve];
  const first = started.use(startProgram([binary, ...flags], { env: { ...env, ...options.env } }));
  const [, shownUrl = ""] = await first.until(/The relay listens url=(\S+)/);
  const url = shownUrl.replace("localhost", "127.0.0.1");
  const trust = url.startsWith("https:") ? [`--pin=${(await first.until(/--pin (\S+)/))[1] ?? ""}`] : [];
  const made = await runProgram([binaryPath(), "keys", "create", "ada"], { env });
  if (made.code !== 0) throw new Error(`Cannot make a key: ${made.stderr}`);
  const key = made.stdout.trim();
  const worker = started.use(
    startModelrelay(
      [
        "worker",
        `--proxy-url=${url}`,
        `--backend-url=${backend.url}`,
        "--models=numbers",
        `--max-concurrency=${options.capacity ?? 400}`,
        ...trust,
        ...(options.worker ?? []),
      ],
      { env },
    ),
  );
  await worker.until(/Connected to the relay .*models=\S/);
  const pids = [first.pid];
  const all = started.move();
  all.defer(() => {
    for (const pid of pids) if (isAlive(pid)) process.kill(pid, "SIGKILL");
  });

  function request(body: object, init: Asking = {}): Promise<Response> {
    return fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      keepalive: false,
      tls: { rejectUnauthorized: false },
      body: JSON.stringify({ model: "numbers", messages: [], ...body }),
      ...init,
      headers: { "content-type": "application/json", authorization: `Bearer ${key}` },
    });
  }

  return {
    first,
    worker,
    backend,
    url,
    port: Number(new URL(url).port),
    dataDir,
    key,
    pids,
    request,
    async handOver() {
      const begun = performance.now();
      process.kill(pids.at(-1)!, "SIGUSR2");
      const [, pid] = await first.until(
        new RegExp(`taken over; .* pid=(?!(?:${pids.join("|")})$)(\\d+)$`, "m"),
      );
      pids.push(Number(pid));
      return { pid: Number(pid), ms: performance.now() - begun };
    },
    arrived: () =>
      waitFor("the worker", () => {
        const links = worker.stderr.match(/Connected to the relay/g) ?? [];
        return Promise.resolve(links.length === pids.length);
      }),
    async stream(user, init) {
      try {
        const response = await request({ stream: true, user }, init);
        return (await response.text()) === backend.sent(user);
      } catch {
        return false; // Cut.
      }
    },
    usage() {
      using database = new Database(join(dataDir, "modelrelay.db"), { readonly: true });
      return database
        .query(
          "SELECT count(*) AS rows, count(DISTINCT id) AS ids, coalesce(sum(CASE WHEN estimated = 0 THEN prompt_tokens + completion_tokens END), 0) AS tokens FROM usage WHERE key_name = 'ada' AND path = '/v1/chat/completions'",
        )
        .get() as { rows: number; ids: number; tokens: number };
    },
    async [Symbol.asyncDispose]() {
      await all.disposeAsync();
    },
  };
}

/** What became of connections that were made one after the other, each for one request. */
export interface Knocks {
  tried: number;
  /** How many answers were the right one. */
  answered: number;
  /** How often something else came of it, by what that was. */
  others: Record<string, number>;
}

/** Goes on connecting and asking, several times at once, until it is told to stop. */
export function knock(rig: HandedOver, atOnce: number, init: Asking = {}): () => Promise<Knocks> {
  const knocks: Knocks = { tried: 0, answered: 0, others: {} };
  let stopped = false;
  async function one(): Promise<string> {
    try {
      const response = await rig.request({ stream: false }, init);
      const text = await response.text();
      return response.status === 200 && text.includes('"id":"short"') ? "" : `${response.status} ${text}`;
    } catch (error) {
      return String(error);
    }
  }
  const loops = Array.from({ length: atOnce }, async () => {
    for (;;) {
      if (stopped) return;
      knocks.tried++;
      const other = await one();
      if (other === "") knocks.answered++;
      else knocks.others[other] = (knocks.others[other] ?? 0) + 1;
    }
  });
  return async () => {
    stopped = true;
    await Promise.all(loops);
    return knocks;
  };
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Waits for the end of a process that is not a child of this one. */
export async function ended(pid: number): Promise<void> {
  await waitFor(`the end of process ${pid}`, () => Promise.resolve(!isAlive(pid)));
}

/** Processes that listen on a TCP port. */
export function listenersOn(port: number): number {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  return ["tcp", "tcp6"]
    .flatMap((table) => readFileSync(`/proc/net/${table}`, "utf8").split("\n"))
    .map((line) => line.trim().split(/\s+/))
    .filter(([, local, , state]) => local?.endsWith(suffix) === true && state === "0A").length;
}

/** What a process has open, by kind: `socket`, `pipe`, `anon_inode`, a path. */
export function openFiles(pid: number): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of readdirSync(`/proc/${pid}/fd`)) {
    let kind = "gone";
    try {
      kind = readlinkSync(`/proc/${pid}/fd/${name}`).replace(/:.*/, "");
    } catch {
      continue;
    }
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  return counts;
}
