import OpenAI from "openai";
import { startModelrelay, type Program } from "../e2e/program.ts";
import { startCaddy } from "../support/caddy.ts";
import { startHaproxy } from "../support/haproxy.ts";
import { Inbox } from "../support/inbox.ts";
import { startTlsNginx } from "../support/nginx.ts";
import type { PartName } from "../support/parts.ts";
import type { TlsProxy, TlsProxyOptions } from "../support/proxy-process.ts";
import { makeAuthority, type Authority } from "./authority.ts";

const SECRET = "proxied-secret";
export const MODEL = "m";

/** A proxy for which there is a file in `examples/`. */
export interface ProxyKind {
  name: PartName & ("nginx" | "caddy" | "haproxy");
  start(options: TlsProxyOptions): Promise<TlsProxy>;
  /** The file as it stands there. */
  example(): Promise<string>;
}

function kind(name: ProxyKind["name"], file: string, start: ProxyKind["start"]): ProxyKind {
  const path = new URL(`../../examples/${file}`, import.meta.url);
  return { name, start, example: () => Bun.file(path).text() };
}

export const NGINX = kind("nginx", "tls-nginx.conf", startTlsNginx);
export const CADDY = kind("caddy", "Caddyfile", startCaddy);
export const HAPROXY = kind("haproxy", "haproxy.cfg", startHaproxy);
export const PROXY_KINDS: readonly ProxyKind[] = [NGINX, CADDY, HAPROXY];

/** One request that reached the backend and that the test answers. */
export interface Call {
  path: string;
  headers: Headers;
  body: Uint8Array;
  answer(response: Response): void;
  /** Answers with an event stream; each `write` is one event of it. */
  stream(): { write(data: string): void; end(): void };
  /** Resolves when whoever called has left. */
  gone: Promise<void>;
}

/** An inference server that does what the test tells it to. */
export interface Backend extends AsyncDisposable {
  url: string;
  port: number;
  /** Requests other than for the list of models. */
  calls: Inbox<Call>;
}

export function startBackend(): Backend {
  const calls = new Inbox<Call>();
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    idleTimeout: 0,
    maxRequestBodySize: 1024 ** 3,
    async fetch(request) {
      const path = new URL(request.url).pathname;
      if (path === "/v1/models" && request.method === "GET") return Response.json({ data: [{ id: MODEL }] });
      const { promise, resolve } = Promise.withResolvers<Response>();
      const gone = new Promise<void>((left) => request.signal.addEventListener("abort", () => left()));
      calls.put({
        path,
        headers: request.headers,
        body: await request.bytes(),
        answer: resolve,
        stream() {
          const events = new Inbox<string | undefined>();
          resolve(
            new Response(
              async function* () {
                for (;;) {
                  const data = await events.next();
                  if (data === undefined) return;
                  yield `data: ${data}\n\n`;
                }
              },
              { headers: { "content-type": "text/event-stream" } },
            ),
          );
          return { write: (data) => events.put(data), end: () => events.put(undefined) };
        },
        gone,
      });
      return promise;
    },
  });
  return {
    url: server.url.origin,
    port: server.port!,
    calls,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

/** The executable as relay and as worker with a proxy before the relay, and clients that use the proxy. */
export interface ProxiedRelay extends AsyncDisposable {
  authority: Authority;
  proxy: TlsProxy;
  backend: Backend;
  serve: Program;
  worker: Program;
  openai: OpenAI;
  fetch(path: string, init?: RequestInit): Promise<Response>;
}

/** Resolves once a worker has connected through the proxy. */
export async function startProxied(proxyKind: ProxyKind): Promise<ProxiedRelay> {
  await using started = new AsyncDisposableStack();
  const authority = started.use(makeAuthority());
  const backend = started.use(startBackend());
  const env = { WORKER_SECRET: SECRET };
  const serve = started.use(startModelrelay(["serve", "--listen", "127.0.0.1:0"], { env }));
  const [, port] = await serve.until(/The relay listens url=http:\/\/127\.0\.0\.1:(\d+)/);
  const proxy = started.use(
    await proxyKind.start({
      config: await proxyKind.example(),
      upstreamPort: Number(port),
      certificate: authority.certificate,
    }),
  );
  const worker = started.use(
    startModelrelay(
      [
        "worker",
        `--proxy-url=${proxy.url}`,
        `--ca-file=${authority.caFile}`,
        `--backend-url=${backend.url}`,
        "--models=*",
        "--max-concurrency=8",
      ],
      { env },
    ),
  );
  await worker.until(/Connected to the relay .*models=\S/);
  const tls = { ca: authority.caPem };
  const held = started.move();
  return {
    authority,
    proxy,
    backend,
    serve,
    worker,
    openai: new OpenAI({
      baseURL: `${proxy.url}/v1`,
      apiKey: "none",
      maxRetries: 0,
      fetchOptions: { tls },
    }),
    fetch: (path, init) => fetch(proxy.url + path, { ...init, tls, proxy: "" }),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}
