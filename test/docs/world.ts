import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { startDemoBackend } from "../../src/demo/server.ts";
import { binaryPath } from "../support/binary.ts";
import { makeCertificate } from "../support/certificates.ts";
import { startPebble, type Pebble } from "../support/pebble.ts";
import { NOT_RUN, ONLY_PARSED } from "./not-run.ts";
import { readPage, type Block } from "./page.ts";

// Runs the commands of one page, inside the sandbox: bun world.ts PAGE. Prints what became of each block as JSON.
// It overwrites files of the machine, so it refuses to run anywhere else.

/** What became of one block. */
export interface Ran {
  line: number;
  code: number;
  output: string;
}

export interface Report {
  ran: Ran[];
  /** Programs that were named, and only pretended to. */
  pretended: string[];
}

if (process.env["SANDBOX_SOURCES"] === undefined) throw new Error("Cannot run a page outside of its sandbox");

const STATE = "/run/page";
const HOME = "/root/page";
const DATA_DIR = "/var/lib/modelrelay";
/** As long as a person would wait for a command that answers. */
const LIMIT_S = 20;

/** Names in the pages that lead here. */
const NAMES = ["relay.example.com", "ai.example.org", "gpu-relay.lan"];

const MODELS = ["llama3.1:8b", "qwen3:4b", "qwen3", "phi4"];
/** Where a page's inference server listens; Ollama's place unless it is here. */
const BACKEND_PORTS: Record<string, number> = {
  "docs/llama-cpp.md": 8081,
  "docs/vllm.md": 8000,
  "docs/lm-studio.md": 1234,
};
/** Pages for people who have an address and a key: a relay runs before they are read. */
const FOR_CLIENTS = new Set(
  ["openai-sdk", "anthropic-sdk", "claude-code", "open-webui", "litellm", "continue", "aider"].map(
    (name) => `docs/${name}.md`,
  ),
);

/** Pages for people whose relay runs. */
const FOR_OPERATORS = new Set(["docs/database.md", "docs/operations.md", "docs/troubleshooting.md"]);

function program(path: string, text: string): void {
  writeFileSync(path, text);
  chmodSync(path, 0o755);
}

/** Programs that stand before those of the machine. */
function makeShims(dir: string): void {
  mkdirSync(dir);
  program(join(dir, "modelrelay"), readFileSync(join(import.meta.dir, "modelrelay-shim.sh"), "utf8"));
  // Who runs this is root already.
  program(join(dir, "sudo"), '#!/bin/sh\nexec "$@"\n');
  for (const name of Object.keys(NOT_RUN))
    program(join(dir, name), `#!/bin/sh\necho ${name} >>${STATE}/pretended\n`);
}

function run(script: string, env: Record<string, string>): { code: number; output: string } {
  const { exitCode, stdout } = Bun.spawnSync(
    ["timeout", String(LIMIT_S), "sh", "-c", `exec 2>&1; set -e; ${script}`],
    { cwd: HOME, env, stdin: "ignore", stdout: "pipe" },
  );
  return { code: exitCode, output: stdout.toString() };
}

/** Folders of programs that a page writes settings for, whether they are installed or not. */
const FOLDERS = [
  STATE,
  HOME,
  "/etc/modelrelay",
  "/etc/letsencrypt/renewal-hooks/deploy",
  "/etc/nginx/conf.d",
  "/etc/caddy",
  "/etc/haproxy",
  "/var/backups",
];

/** Files that others have put there: an authority's, and certificates where certbot leaves them. */
async function placeFiles(): Promise<void> {
  await Bun.write("/etc/ssl/corp-ca.pem", makeCertificate({ names: ["ca.corp.example"] }).chainPem);
  await Bun.write("/etc/modelrelay/eab-key", "bm90IGEga2V5IG9mIGFueWJvZHk\n");
  const dir = "/etc/letsencrypt/live/relay.example.com";
  mkdirSync(dir, { recursive: true });
  const { chainPem, keyPem } = makeCertificate({ names: ["relay.example.com"] });
  await Bun.write(join(dir, "fullchain.pem"), chainPem);
  await Bun.write(join(dir, "privkey.pem"), keyPem);
}

/** The reader's own values in the place of the page's examples. */
function fillIn(block: Block, key: string | undefined): string {
  const log = join(STATE, "serve.log");
  const pin = existsSync(log) ? /sha256\/[\w+/]{43}=/.exec(readFileSync(log, "utf8"))?.[0] : undefined;
  return block.text
    .split("\n")
    .map((line) => (Object.hasOwn(ONLY_PARSED, line) ? ":" : line))
    .join("\n")
    .replaceAll(/(?<=sha256\/{1,2})[\w+/]{43}=/g, (example) => pin?.slice("sha256/".length) ?? example)
    .replaceAll("mr_live_…", key ?? "mr_live_…");
}

async function runPage(path: string): Promise<Report> {
  for (const dir of FOLDERS) mkdirSync(dir, { recursive: true });
  for (const name of NAMES) appendFileSync("/etc/hosts", `127.0.0.1 ${name}\n`);
  makeShims(join(STATE, "bin"));
  run("getent group modelrelay || groupadd --system modelrelay", { PATH: process.env["PATH"] ?? "" });
  await placeFiles();
  await using authority: Pebble = await startPebble({ httpPort: 80 });
  const caFile = join(STATE, "ca.pem");
  await Bun.write(caFile, authority.caPem);
  appendFileSync("/etc/ssl/certs/ca-certificates.crt", await authority.rootPem());
  const backend = startDemoBackend({ port: BACKEND_PORTS[path] ?? 11434, models: MODELS, tokenDelayMs: 0 });
  const env: Record<string, string> = {
    PATH: `${join(STATE, "bin")}:${process.env["PATH"] ?? ""}`,
    HOME,
    PAGE_STATE: STATE,
    PAGE_BINARY: binaryPath(),
    MODELRELAY_DATA_DIR: DATA_DIR,
    PAGE_ACME_DIRECTORY: authority.directoryUrl,
    PAGE_ACME_CA_FILE: caFile,
    NODE_EXTRA_CA_CERTS: "/etc/ssl/certs/ca-certificates.crt",
  };
  const ran: Ran[] = [];
  let key: string | undefined;
  if (FOR_CLIENTS.has(path)) {
    const script = `modelrelay serve --tls --domain relay.example.com
      modelrelay worker --proxy-url https://relay.example.com --worker-secret-file ${DATA_DIR}/worker-secret
      modelrelay keys create reader 2>/dev/null`;
    const { code, output } = run(script, env);
    if (code !== 0) throw new Error(`Cannot start a relay for ${path}: exit code ${code}\n${output}`);
    key = output.trim();
  }
  if (FOR_OPERATORS.has(path)) run("modelrelay serve", env);
  for (const block of readPage(path).blocks.filter(({ language }) => language === "sh")) {
    // What is copied from the relay's machine to another one; here both are this one.
    for (const file of ["worker-secret", "tls/self-signed.internal/fullchain.pem"])
      if (existsSync(join(DATA_DIR, file)))
        await Bun.write(join(HOME, basename(file)), Bun.file(join(DATA_DIR, file)));
    ran.push({ line: block.line, ...run(fillIn(block, key), env) });
  }
  await backend.stop();
  const pretended = join(STATE, "pretended");
  const names = existsSync(pretended) ? readFileSync(pretended, "utf8").trim().split("\n") : [];
  return { ran, pretended: [...new Set(names)] };
}

const [, , page = ""] = process.argv;
process.stdout.write(JSON.stringify(await runPage(page)));
