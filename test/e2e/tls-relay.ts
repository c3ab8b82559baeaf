import Anthropic from "@anthropic-ai/sdk";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import OpenAI from "openai";
import { binaryPath } from "../support/binary.ts";
import { startPebble, type Pebble, type PebbleOptions } from "../support/pebble.ts";
import { runProgram, startModelrelay, type Program } from "./program.ts";

export const SECRET = "end-to-end-secret";

/** Every name under `localhost` leads to this machine (RFC 6761 §6.3), without a DNS server. */
export const A = "a.localhost";
export const B = "b.localhost";

/** Ports that were free a moment ago, for programs that have to be told one. */
export function freePorts(count: number): number[] {
  const listeners = Array.from({ length: count }, () =>
    Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } }),
  );
  const ports = listeners.map(({ port }) => port);
  for (const listener of listeners) listener.stop(true);
  return ports;
}

export function freePort(): number {
  return freePorts(1)[0]!;
}

/** A CA, and where relays that it is to know have to answer. */
export interface Authority extends AsyncDisposable {
  pebble: Pebble;
  /** Where the CA asks. */
  httpPort: number;
  /** Settings that lead a relay to the CA. */
  env: Record<string, string>;
  /** Root of the certificates that it issues. */
  rootPem: string;
  rootFile: string;
  /** A new data directory; gone with the CA. */
  dataDir(): string;
}

export async function startAuthority(options: Partial<PebbleOptions> = {}): Promise<Authority> {
  const httpPort = options.httpPort ?? freePort();
  const pebble = await startPebble({ ...options, httpPort });
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-e2e-tls-"));
  const rootPem = await pebble.rootPem();
  writeFileSync(join(dir, "ca.pem"), pebble.caPem);
  writeFileSync(join(dir, "root.pem"), rootPem);
  return {
    pebble,
    httpPort,
    env: {
      ACME_DIRECTORY: pebble.directoryUrl,
      ACME_CA_FILE: join(dir, "ca.pem"),
      HTTP_PORT: `127.0.0.1:${httpPort}`,
      WORKER_SECRET: SECRET,
      NO_COLOR: "1",
    },
    rootPem,
    rootFile: join(dir, "root.pem"),
    dataDir: () => mkdtempSync(join(dir, "data-")),
    async [Symbol.asyncDispose]() {
      await pebble[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

export interface TlsRelayOptions {
  /** Settings of the environment. */
  env: Record<string, string>;
  dataDir: string;
  /** `--tls` and what belongs to it. */
  args: string[];
  httpsPort?: number;
  /** What the HTTPS port is bound to, `127.0.0.1` unless given. */
  host?: string;
}

/** The executable, serving HTTPS. */
export interface TlsRelay extends AsyncDisposable {
  program: Program;
  httpsPort: number;
  dataDir: string;
  env: Record<string, string>;
  /** Makes it look at its certificates at once. */
  reload(): void;
}

/** Starts a relay; whether it serves yet is for `listening` to tell. */
export function startTlsRelay({
  env,
  dataDir,
  args,
  httpsPort = freePort(),
  host = "127.0.0.1",
}: TlsRelayOptions): TlsRelay {
  const settings = { ...env, MODELRELAY_DATA_DIR: dataDir };
  const program = startModelrelay(["serve", "--https-port", `${host}:${httpsPort}`, ...args], {
    env: settings,
  });
  return {
    program,
    httpsPort,
    dataDir,
    env: settings,
    reload: () => program.kill("SIGHUP"),
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

/** Waits until the relay has a certificate and serves it. */
export async function listening(relay: TlsRelay): Promise<TlsRelay> {
  await relay.program.until(/The relay listens url=https:/);
  return relay;
}

/** Starts a relay on the CA for these names, and waits until all of them have a certificate. */
export async function serveDomains(
  authority: Authority,
  domains: string[],
  { args = [], dataDir = authority.dataDir(), env = {}, ...more }: Partial<TlsRelayOptions> = {},
): Promise<TlsRelay> {
  const flags = ["--tls", ...domains.flatMap((domain) => ["--domain", domain]), ...args];
  const relay = startTlsRelay({ env: { ...authority.env, ...env }, dataDir, args: flags, ...more });
  try {
    await listening(relay);
    for (const domain of domains) await certificateOf(relay, domain);
    return relay;
  } catch (error) {
    await relay[Symbol.asyncDispose]();
    throw error;
  }
}

/** Waits until the relay serves a certificate of the name. */
async function certificateOf(relay: TlsRelay, domain: string): Promise<void> {
  await waitFor(`a certificate for ${domain}`, async () =>
    (await shown(relay.httpsPort, domain)).names.includes(domain),
  );
}

/** Runs a command of the executable with a relay's settings. */
export function modelrelay(
  { env }: { env: Record<string, string> },
  ...args: string[]
): Promise<{ stdout: string; stderr: string; code: number }> {
  return runProgram([binaryPath(), ...args], { env });
}

/** Renews in a process of its own, tells the relay, and waits until that serves what it got. */
export async function renew(relay: TlsRelay, domain: string, ...args: string[]): Promise<string> {
  const before = (await shown(relay.httpsPort, domain)).serial;
  const renewed = await modelrelay(relay, "tls", "renew", "--force", "--domain", domain, ...args);
  if (renewed.code !== 0) throw new Error(`Cannot renew: ${renewed.stderr}`);
  relay.reload();
  let serial = before;
  await waitFor("a new serial", async () => {
    ({ serial } = await shown(relay.httpsPort, domain));
    return serial !== before;
  });
  return serial;
}

/** What a TLS client is shown. */
export interface Shown {
  /** Lower-case hexadecimal; empty if there was no certificate. */
  serial: string;
  names: string[];
  output: string;
}

/** Connects with `openssl s_client`. @param name for SNI; none is sent without */
export async function shown(port: number, name?: string, ...args: string[]): Promise<Shown> {
  const sni = name === undefined ? ["-noservername"] : ["-servername", name];
  const { stdout, stderr } = await runProgram([
    "openssl",
    "s_client",
    "-connect",
    `127.0.0.1:${port}`,
    ...sni,
    ...args,
  ]);
  const [pem] = /-----BEGIN CERTIFICATE-----[^]*?-----END CERTIFICATE-----/.exec(stdout) ?? [];
  const leaf = pem === undefined ? undefined : new X509Certificate(pem);
  return {
    serial: leaf?.serialNumber.toLowerCase() ?? "",
    names: (leaf?.subjectAltName ?? "").split(", ").map((entry) => entry.replace(/^[^:]*:/, "")),
    output: stdout + stderr,
  };
}

/** How long something that is awaited may take before the test is told what is missing. */
const PATIENCE_MS = 15_000;

/** Asks until the answer is true. */
export async function waitFor(what: string, ask: () => Promise<boolean>): Promise<void> {
  const end = performance.now() + PATIENCE_MS;
  while (!(await ask())) {
    if (performance.now() > end) throw new Error(`Waited ${PATIENCE_MS} ms in vain for ${what}`);
    await Bun.sleep(20);
  }
}

export type Fetch = (path: string, init?: BunFetchRequestInit) => Promise<Response>;

/** `fetch` on a relay under one of its names, with nothing trusted but the CA's root. */
export function clientOf(relay: TlsRelay, rootPem: string): Fetch {
  return (path, init = {}) =>
    fetch(`https://${A}:${relay.httpsPort}${path}`, { proxy: "", tls: { ca: rootPem }, ...init });
}

/**
 * The same over HTTP/3, where Bun takes no authority from a request's own options, and of a name's two
 * addresses tries the first alone.
 */
export function http3ClientOf(relay: TlsRelay): Fetch {
  return (path, init = {}) =>
    fetch(`https://127.0.0.1:${relay.httpsPort}${path}`, {
      proxy: "",
      protocol: "http3",
      tls: { rejectUnauthorized: false },
      ...init,
    });
}

/** Both official SDKs. */
export function sdksOf(
  relay: TlsRelay,
  rootPem: string,
  apiKey = "none",
): { openai: OpenAI; anthropic: Anthropic } {
  const url = `https://${A}:${relay.httpsPort}`;
  const common = { apiKey, maxRetries: 0, fetchOptions: { proxy: "", tls: { ca: rootPem } } };
  return {
    openai: new OpenAI({ baseURL: `${url}/v1`, ...common }),
    anthropic: new Anthropic({ baseURL: url, ...common }),
  };
}

/**
 * Starts a worker for a backend; whether it gets in is for the test to await.
 *
 * @param host the relay's name; with a pin the system resolves it, which knows `localhost` alone everywhere
 */
export function startTlsWorker(relay: TlsRelay, backendUrl: string, args: string[], host = A): Program {
  return startModelrelay(
    ["worker", `--proxy-url=https://${host}:${relay.httpsPort}`, `--backend-url=${backendUrl}`, ...args],
    { env: { WORKER_SECRET: SECRET } },
  );
}

/** Waits until the relay has the worker. */
export function connected(worker: Program): Promise<unknown> {
  return worker.until(/Connected to the relay .*models=\S/);
}
