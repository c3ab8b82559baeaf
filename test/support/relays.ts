import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { ListenAddress, RelayConfig } from "../../src/server/config.ts";
import { createRelayApp, startRelay } from "../../src/server/index.ts";
import type { SocketSession } from "../../src/server/listener.ts";
import { binaryPath } from "./binary.ts";
import { newDataDir } from "./data-dir.ts";
import { RawWorker, type LinkVersion } from "./raw-worker.ts";
import { RawWorkerV2 } from "./raw-worker-v2.ts";

export const SECRET = "test-worker-secret";

/** Settings that the promises are tested with; short where a promise is about a limit. */
export interface RelaySettings {
  maxQueueLen?: number;
  queueTimeoutMs?: number;
  requestTimeoutMs?: number;
  maxBody?: number;
  maxInflightBytes?: number;
  maxResponseBuffer?: number;
  sseKeepaliveMs?: number;
  corsOrigin?: string[];
  drainTimeoutMs?: number;
  linkGraceMs?: number;
  provider?: string;
}

/** A relay under test, however it runs. */
export interface TestRelay extends AsyncDisposable {
  /** Sends a request as a client; the path begins with `/`. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Connects a raw worker; it speaks the version that the relay was started for. */
  worker(query?: string, secret?: string): Promise<RawWorker>;
  /** Asks the relay to shut down as SIGTERM does; resolves when it has. */
  drain(): Promise<void>;
}

export interface RelayKind {
  name: string;
  /** @param link what the raw workers speak; v1 unless given */
  start(settings?: RelaySettings, link?: LinkVersion): Promise<TestRelay>;
}

/** The same relay, for workers that speak this version. */
export function speaking(kind: RelayKind, link: LinkVersion): RelayKind {
  return { name: `${kind.name}, link ${link}`, start: (settings) => kind.start(settings, link) };
}

function newRawWorker(link: LinkVersion): RawWorker {
  return link === "v1" ? new RawWorker() : new RawWorkerV2();
}

export function relayConfig(settings: RelaySettings): RelayConfig & { listen: ListenAddress } {
  return {
    listen: { host: "127.0.0.1", port: 0 },
    workerSecret: SECRET,
    provider: "local",
    trustedProxy: [],
    linkWindow: 256 * 1024,
    linkGraceMs: 15_000,
    maxQueueLen: 100,
    queueTimeoutMs: 30_000,
    requestTimeoutMs: 300_000,
    maxBody: 128 * 1024 * 1024,
    maxInflightBytes: 1024 ** 3,
    maxResponseBuffer: 64 * 1024 * 1024,
    sseKeepaliveMs: 15_000,
    corsOrigin: ["*"],
    drainTimeoutMs: 30_000,
    ...settings,
  };
}

/** The core and its shells without a socket: messages are handed over as they are. */
const inProcess: RelayKind = {
  name: "in process",
  async start(settings = {}, link = "v1") {
    const app = createRelayApp(relayConfig(settings), { clock: systemClock, log: silentLog });
    const connection = { address: "127.0.0.1", allowSilence() {}, limitSilence() {}, upgrade: () => false };
    return {
      async fetch(path, init) {
        const response = await app.request(new Request(`http://relay.test${path}`, init), connection);
        if (response === undefined) throw new Error("The request became a WebSocket");
        return response;
      },
      async worker(query = "", secret = SECRET) {
        const worker = newRawWorker(link);
        const provider = new URLSearchParams(query).get("provider") ?? "local";
        let session: SocketSession | undefined = app.worker(
          { provider, address: "127.0.0.1", version: link, credential: secret },
          {
            send(message) {
              // As over a socket, nothing arrives within the turn in which it was sent, and what was
              // sent may be written over after it.
              const sent = typeof message === "string" ? message : Buffer.from(message);
              queueMicrotask(() => worker.received(sent));
              return true;
            },
            buffered: () => 0,
            close(code, reason) {
              session = undefined;
              queueMicrotask(() => worker.ended({ code, reason }));
            },
            terminate() {
              session = undefined;
              queueMicrotask(() => worker.ended({ code: 1006, reason: "" }));
            },
          },
        );
        const leave = (code = 1006, reason = "") => {
          session?.closed(code);
          session = undefined;
          worker.ended({ code, reason });
        };
        worker.attach({
          // A relay's socket would refuse a message of this size before anybody reads it.
          send: (message) => {
            const size = typeof message === "string" ? Buffer.byteLength(message) : message.length;
            if (size > 16 * 1024 * 1024) {
              return leave(1009);
            }
            session?.receive(typeof message === "string" ? message : Buffer.from(message));
          },
          close: leave,
          cut: () => leave(),
        });
        return worker;
      },
      drain: () => app.relay.drain(settings.drainTimeoutMs ?? 30_000),
      [Symbol.asyncDispose]: () => app.relay.drain(0),
    };
  },
};

const overLoopback: RelayKind = {
  name: "over loopback",
  async start(settings = {}, link = "v1") {
    const running = startRelay(relayConfig(settings), { clock: systemClock, log: silentLog });
    return {
      ...remote(running.url, link),
      drain: () => running.drain(),
      [Symbol.asyncDispose]: () => running.stop(),
    };
  },
};

const builtBinary: RelayKind = {
  name: "built binary",
  async start(settings = {}, link = "v1") {
    const { provider, corsOrigin, ...numbers } = settings;
    const flags = Object.entries(numbers).map(([key, value]) => FLAGS[key as keyof typeof numbers](value));
    if (provider !== undefined) flags.push(`--provider=${provider}`);
    if (corsOrigin !== undefined) flags.push(`--cors-origin=${corsOrigin.join(",") || "none"}`);
    const child = Bun.spawn([binaryPath(), "serve", "--listen", "127.0.0.1:0", ...flags], {
      env: {
        PATH: process.env["PATH"] ?? "",
        WORKER_SECRET: SECRET,
        HOME: process.env["HOME"] ?? "",
        MODELRELAY_DATA_DIR: newDataDir(),
      },
      stdin: "ignore",
      stdout: "ignore",
      stderr: "pipe",
    });
    const url = await listeningAddress(child.stderr);
    return {
      ...remote(url, link),
      async drain() {
        child.kill("SIGTERM");
        const code = await child.exited;
        if (code !== 0) throw new Error(`serve ended with ${code} after SIGTERM`);
      },
      async [Symbol.asyncDispose]() {
        child.kill("SIGKILL");
        await child.exited;
      },
    };
  },
};

const FLAGS: Record<Exclude<keyof RelaySettings, "provider" | "corsOrigin">, (value: number) => string> = {
  maxQueueLen: (n) => `--max-queue-len=${n}`,
  queueTimeoutMs: (n) => `--queue-timeout=${n}ms`,
  requestTimeoutMs: (n) => `--request-timeout=${n}ms`,
  maxBody: (n) => `--max-body=${n}`,
  maxInflightBytes: (n) => `--max-inflight-bytes=${n}`,
  maxResponseBuffer: (n) => `--max-response-buffer=${n}`,
  sseKeepaliveMs: (n) => `--sse-keepalive=${n}ms`,
  drainTimeoutMs: (n) => `--drain-timeout=${n}ms`,
  linkGraceMs: (n) => `--link-grace=${n}ms`,
};

/** Reads a program's log until it says where it listens, and lets the rest of it flow away. */
export async function listeningAddress(stderr: ReadableStream<Uint8Array>): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  const reader = stderr.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error(`The program ended before it listened:\n${text}`);
    text += decoder.decode(value, { stream: true });
    const found = /(http:\/\/[\w.[\]:]+:\d+)/.exec(text);
    if (found?.[1] === undefined) continue;
    void (async () => {
      while (!(await reader.read()).done);
    })();
    return found[1];
  }
}

function remote(url: string, link: LinkVersion): Pick<TestRelay, "fetch" | "worker"> {
  return {
    fetch: (path, init) => fetch(url + path, { ...init, keepalive: false }),
    worker: (query, secret) => connectRawWorker(url, query, secret, link),
  };
}

/** Connects a raw worker to a relay's address. */
export async function connectRawWorker(
  url: string,
  query = "",
  secret = SECRET,
  link: LinkVersion = "v1",
): Promise<RawWorker> {
  const worker = newRawWorker(link);
  const socket = new WebSocket(`${url.replace("http", "ws")}/v1/worker/connect${query}`, {
    headers: { "x-worker-secret": secret },
    ...(link === "v2" && { protocols: ["modelrelay.v2"] }),
  } as unknown as string[]);
  socket.binaryType = "arraybuffer";
  const opened = Promise.withResolvers<void>();
  socket.addEventListener("open", () => opened.resolve());
  socket.addEventListener("message", ({ data }) =>
    worker.received(typeof data === "string" ? data : new Uint8Array(data as ArrayBuffer)),
  );
  socket.addEventListener("close", (event) => {
    opened.reject(new Error(`The relay refused the worker: ${event.code} ${event.reason}`));
    worker.ended({ code: event.code, reason: event.reason });
  });
  worker.attach({
    send: (message) => socket.send(message),
    close: (code, reason) => socket.close(code, reason),
    cut: () => socket.terminate(),
  });
  await opened.promise;
  return worker;
}

export const relayKinds: readonly RelayKind[] = [inProcess, overLoopback, builtBinary];
