import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startModelrelay, type Program } from "../e2e/program.ts";
import { freePort } from "../e2e/tls-relay.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";

const SECRET = "conformance-secret";

export interface SecureRelayOptions {
  /** Kind of the keys of leaf, intermediate and root; `ec` unless given. */
  key?: "ec" | "rsa";
  /** Further flags of `serve`. */
  args?: string[];
  /** Where a worker finds its backend; no worker without. */
  backendUrl?: string;
}

/** The executable as relay on an HTTPS port alone, with a leaf of a CA below an intermediate one. */
export interface SecureRelay extends AsyncDisposable {
  port: number;
  /** `https://127.0.0.1:<port>`: a client over UDP does not fall back from IPv6. */
  url: string;
  /** The root. */
  caPem: string;
  caFile: string;
  serve: Program;
  /** Puts another leaf of the same CA in the place of the one that is served. */
  changeCertificate(): TestCertificate;
  fetch(path: string, init?: BunFetchRequestInit): Promise<Response>;
  /** What the relay says of itself. */
  health(): Promise<Record<string, number>>;
  /** Asks until the relay has no request. */
  idle(): Promise<void>;
  /** Resident memory in MiB, and open files; 0 where `/proc` is not. */
  use(): { memoryMiB: number; files: number };
}

/** Resolves when the relay listens, and the worker, if there is to be one, is connected to it. */
export async function startSecureRelay({
  key = "ec",
  args = [],
  backendUrl,
}: SecureRelayOptions = {}): Promise<SecureRelay> {
  await using started = new AsyncDisposableStack();
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-conformance-"));
  started.defer(() => rmSync(dir, { recursive: true, force: true }));
  const file = (name: string) => join(dir, name);
  const root = makeCertificate({ names: ["Root"], authority: true, key });
  const intermediate = makeCertificate({ names: ["Intermediate"], authority: true, key, issuer: root });
  const names = ["localhost", "relay.test", "127.0.0.1"];
  const changeCertificate = (): TestCertificate => {
    const leaf = makeCertificate({ names, key, issuer: intermediate });
    // As CAs hand it out: without the root.
    writeFileSync(file("chain.pem"), leaf.chainPem.replace(root.chainPem, ""));
    writeFileSync(file("key.pem"), leaf.keyPem);
    return leaf;
  };
  changeCertificate();
  writeFileSync(file("root.pem"), root.chainPem);
  const port = freePort();
  const url = `https://127.0.0.1:${port}`;
  const env = { WORKER_SECRET: SECRET, NO_COLOR: "1", MODELRELAY_DATA_DIR: file("data") };
  const serve = started.use(
    startModelrelay(
      [
        "serve",
        `--https-port=127.0.0.1:${port}`,
        "--http-port=off",
        `--tls-cert=${file("chain.pem")}`,
        `--tls-key=${file("key.pem")}`,
        ...args,
      ],
      { env },
    ),
  );
  await serve.until(/The relay listens url=https:/);
  if (backendUrl !== undefined) {
    const worker = started.use(
      startModelrelay(
        [
          "worker",
          `--proxy-url=${url}`,
          `--ca-file=${file("root.pem")}`,
          "--max-concurrency=4096",
          `--backend-url=${backendUrl}`,
          "--models=*",
        ],
        { env },
      ),
    );
    await worker.until(/Connected to the relay .*models=\S/);
  }
  const tls = { ca: root.chainPem };
  const ask: SecureRelay["fetch"] = (path, init = {}) => fetch(url + path, { proxy: "", tls, ...init });
  // A connection of its own, so that the ports' own connections are all that is counted.
  const health = async () =>
    (await (await ask("/health", { keepalive: false })).json()) as Record<string, number>;
  const held = started.move();
  return {
    port,
    url,
    caPem: root.chainPem,
    caFile: file("root.pem"),
    serve,
    changeCertificate,
    fetch: ask,
    health,
    async idle() {
      while ((await health())["requests_in_flight"] !== 0) await Bun.sleep(10);
    },
    use: () => useOf(serve.pid),
    [Symbol.asyncDispose]: () => held.disposeAsync(),
  };
}

function useOf(pid: number): { memoryMiB: number; files: number } {
  if (process.platform !== "linux") return { memoryMiB: 0, files: 0 };
  const [, kib] = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8")) ?? [];
  return { memoryMiB: Number(kib) / 1_024, files: readdirSync(`/proc/${pid}/fd`).length };
}
