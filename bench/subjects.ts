import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { messageOf, Problem } from "../src/base/errors.ts";
import { type Child, awaitReady, freePort, startChild } from "./child.ts";
import { encodeQuestion } from "./completion.ts";
import { nginxVersion, startNginx } from "./nginx.ts";
import type { Options, Peer } from "./options.ts";
import { startRelay } from "./relay.ts";
import type { Subject } from "./subject.ts";

/** Time for a peer to answer its first request. */
const PEER_READY_MS = 20_000;

/** Everything a run starts: the backend and what stands before it. */
export interface Subjects extends AsyncDisposable {
  readonly all: readonly Subject[];
  readonly backendPid: number;
}

async function startBackendProcess(port: number, workDir: string): Promise<{ child: Child; url: URL }> {
  const child = startChild(
    "backend",
    [process.execPath, join(import.meta.dir, "backend.ts"), "--port", String(port)],
    workDir,
  );
  try {
    const url = await awaitReady(
      "the backend",
      [child],
      10_000,
      async () => /listening on (\S+)/.exec(child.output())?.[1],
    );
    return { child, url: new URL(url) };
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
}

async function awaitPeer(peer: Peer): Promise<Subject> {
  await awaitAnswer(`peer ${peer.name} at ${peer.baseUrl}`, [], peer.baseUrl);
  return {
    name: peer.name,
    baseUrl: peer.baseUrl,
    processes: peer.pids.length === 0 ? {} : { peer: peer.pids },
    stop: async () => {},
  };
}

/**
 * Starts nginx behind nginx: two processes in the way, as a relay and its worker are, and nothing done in
 * either that has to do with either.
 */
async function startChain(backend: URL, workDir: string): Promise<Subject> {
  const inner = await startNginx(backend, workDir, "chain-inner");
  try {
    const outer = await startNginx(new URL(inner.baseUrl), workDir, "chain-outer");
    const stop = async () => {
      await outer.stop();
      await inner.stop();
    };
    const processes = { ...outer.processes, ...inner.processes };
    return { name: "chain", baseUrl: outer.baseUrl, processes, stop };
  } catch (error) {
    await inner.stop();
    throw error;
  }
}

/** Starts the least relay and worker, see floor.ts. */
async function startFloor(backend: URL, workDir: string): Promise<Subject> {
  const port = String(freePort());
  const script = join(import.meta.dir, "floor.ts");
  const relay = startChild("floor-relay", [process.execPath, script, "relay", port], workDir);
  const children = [relay];
  const stop = async () => {
    for (const child of children.toReversed()) await child[Symbol.asyncDispose]();
  };
  const baseUrl = `http://127.0.0.1:${port}`;
  try {
    await awaitReady("the floor's relay", children, PEER_READY_MS, async () => {
      const probe = await Bun.connect({ hostname: "127.0.0.1", port: Number(port), socket: { data() {} } });
      probe.terminate();
      return true;
    });
    const worker = startChild(
      "floor-worker",
      [process.execPath, script, "worker", port, backend.origin],
      workDir,
    );
    children.push(worker);
    await awaitAnswer("the floor", children, baseUrl);
    return { name: "floor", baseUrl, processes: { relay: [relay.pid], worker: [worker.pid] }, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function awaitAnswer(what: string, children: readonly Child[], baseUrl: string): Promise<void> {
  const body = encodeQuestion({ responseBytes: 16 }, false, 300);
  await awaitReady(what, children, PEER_READY_MS, async () => {
    const reply = await fetch(`${baseUrl}/v1/chat/completions`, {
      method: "POST",
      body,
      headers: { "content-type": "application/json" },
      proxy: false,
      signal: AbortSignal.timeout(1_000),
    });
    return reply.ok && (await reply.text()).includes("chatcmpl-bench") ? true : undefined;
  });
}

/** The executables to measure, by subject name; those that are not there are told to `note`. */
function binariesOf(options: Options, note: (text: string) => void): { name: string; path: string }[] {
  const own = process.env["MODELRELAY_BINARY"] ?? join(import.meta.dir, "..", "dist", "modelrelay");
  return [{ name: "relay", path: own }, ...options.binaries]
    .map(({ name, path }) => ({ name, path: resolve(path) }))
    .filter(({ name, path }) => {
      if (!existsSync(path)) note(`${name} is not measured: there is no ${path}. Run: bun run build`);
      return existsSync(path);
    });
}

/**
 * Starts the backend and every subject in front of it. One that does not come up is told to `note`
 * and left out; only the backend is indispensable.
 *
 * @throws {Problem} if the backend does not start
 */
export async function startSubjects(
  options: Options,
  workDir: string,
  note: (text: string) => void,
): Promise<Subjects> {
  const backend = await startBackendProcess(options.backendPort, workDir);
  const all: Subject[] = [
    { name: "direct", baseUrl: backend.url.origin, processes: {}, stop: async () => {} },
  ];
  const add = async (start: () => Promise<Subject>) => {
    try {
      all.push(await start());
    } catch (error) {
      note(messageOf(error));
      if (error instanceof Problem && error.action !== undefined) note(error.action);
    }
  };
  if (nginxVersion() === undefined)
    note("nginx is not measured: it is not installed (apt-get install nginx-light)");
  else await add(() => startNginx(backend.url, workDir));
  for (const { name, path } of binariesOf(options, note))
    await add(() => startRelay(name, path, backend.url, workDir));
  if (options.care) {
    const [own] = binariesOf(options, () => {});
    for (const care of ["bare", "full"] as const)
      if (own !== undefined) await add(() => startRelay(care, own.path, backend.url, workDir, care));
  }
  if (options.floor) {
    if (nginxVersion() !== undefined) await add(() => startChain(backend.url, workDir));
    await add(() => startFloor(backend.url, workDir));
  }
  for (const peer of options.peers) await add(() => awaitPeer(peer));
  return {
    all,
    backendPid: backend.child.pid,
    async [Symbol.asyncDispose]() {
      for (const subject of all.toReversed()) await subject.stop();
      await backend.child[Symbol.asyncDispose]();
    },
  };
}
