import { appendFileSync, chmodSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { hostPlatform } from "../../scripts/targets.ts";
import { startDemoBackend } from "../../src/demo/server.ts";
import { binaryPath } from "../support/binary.ts";
import { makeCertificate } from "../support/certificates.ts";
import { startPebble, type Pebble } from "../support/pebble.ts";
import { bareCommand, NOT_RUN, ONLY_PARSED } from "./not-run.ts";
import { readPage, ROOT, type Block } from "./page.ts";

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
/** Whom programs of this machine trust. */
const AUTHORITIES = "/etc/ssl/certs/ca-certificates.crt";
/** Far more than the commands of one block take, on a machine that is busy with other tests. */
const LIMIT_S = 60;

/** Names in the pages that lead here. */
const NAMES = ["relay.example.com", "ai.example.org", "gpu-relay.lan"];

const MODELS = ["llama3.1:8b", "qwen3:4b", "qwen3", "phi4"];
/** Where a page's inference server listens; Ollama's place unless it is here. */
const BACKEND_PORTS: Record<string, number> = {
  "docs/llama-cpp.md": 8081,
  "docs/vllm.md": 8000,
  "docs/lm-studio.md": 1234,
};
const pages = (names: string[]): Set<string> => new Set(names.map((name) => `docs/${name}.md`));

/** Pages for people who have an address and a key. */
const FOR_CLIENTS = pages([
  "openai-sdk",
  "anthropic-sdk",
  "claude-code",
  "open-webui",
  "litellm",
  "continue",
  "aider",
]);
/** Pages for people whose relay runs. */
const FOR_OPERATORS = pages([
  "ollama",
  "llama-cpp",
  "vllm",
  "lm-studio",
  "database",
  "operations",
  "troubleshooting",
]);

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

/** Runs the reader's commands; what one exports, the next one has. */
async function run(script: string, stdin = ""): Promise<{ code: number; output: string }> {
  const session = join(STATE, "session");
  const output = join(STATE, "output");
  const lines = [`exec >${output} 2>&1`, "set -e", `. ${session}`, script, `export -p >${session}`];
  const child = Bun.spawn(["timeout", String(LIMIT_S), "sh", "-c", lines.join("\n")], {
    cwd: HOME,
    stdin: Buffer.from(stdin),
  });
  const code = await child.exited;
  return { code, output: await Bun.file(output).text() };
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

/** What the commands so far have printed that a reader would copy. */
class Notes {
  #key: string | undefined;
  #secret: string | undefined;

  read(output: string): void {
    this.#key = /^mr_live_\w{43}$/m.exec(output)?.[0] ?? this.#key;
    this.#secret = /^mr_work_\w{43}$/m.exec(output)?.[0] ?? this.#secret;
  }

  /** For a command that waits for something to be pasted. */
  get pasted(): string {
    return this.#secret === undefined ? "" : `${this.#secret}\n`;
  }

  /** The reader's own values in the place of the page's examples. */
  fillIn(text: string): string {
    const log = join(STATE, "serve.log");
    const pin = existsSync(log) ? /sha256\/([\w+/]{43}=)/.exec(readFileSync(log, "utf8"))?.[1] : undefined;
    return text
      .split("\n")
      .map((line) => (Object.hasOwn(ONLY_PARSED, bareCommand(line)) ? ":" : line))
      .join("\n")
      .replaceAll(/(?<=sha256\/{1,2})[\w+/]{43}=/g, (example) => pin ?? example)
      .replaceAll("mr_live_…", this.#key ?? "mr_live_…");
  }
}

/** What is copied from the relay's machine to another one; here both are this one. */
async function copyFiles(): Promise<void> {
  for (const file of ["worker-secret", "tls/self-signed.internal/fullchain.pem"]) {
    const copy = join(HOME, basename(file));
    if (existsSync(join(DATA_DIR, file))) await Bun.write(copy, Bun.file(join(DATA_DIR, file)));
  }
}

/** The command that runs a block, by its language; `undefined` for what is no program. */
async function commandOf({ language, line, text }: Block): Promise<string | undefined> {
  switch (language) {
    case "sh":
      return text;
    case "js": {
      // Beside the sources, so that it finds the packages that they have.
      const file = join(import.meta.dir, `.page-${line}.mjs`);
      await Bun.write(file, text);
      return `${process.execPath} ${file}`;
    }
    case "python": {
      // The packages that it imports are not here; whether it is Python can be told.
      const file = join(STATE, `page-${line}.py`);
      await Bun.write(file, text);
      return `python3 -c 'import ast, sys; ast.parse(open(sys.argv[1]).read())' ${file}`;
    }
    default:
      return undefined;
  }
}

/** The address of releases in the pages. */
const RELEASES = "get.example.com";

/** Makes a release of the executable under test. @returns how to serve it, for as long as a block needs it */
async function makeRelease(): Promise<() => Bun.Server<undefined>> {
  const { chainPem, keyPem } = makeCertificate({ names: [RELEASES] });
  appendFileSync(AUTHORITIES, chainPem);
  appendFileSync("/etc/hosts", `127.0.0.2 ${RELEASES}\n`);
  const flags = [
    "--target",
    hostPlatform(),
    "--executable",
    binaryPath(),
    "--base-url",
    `https://${RELEASES}`,
  ];
  const made = Bun.spawn([process.execPath, join(ROOT, "scripts/release.ts"), ...flags], {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const [said, code] = await Promise.all([made.stdout.text(), made.exited]);
  if (code !== 0) throw new Error(`Cannot make a release: exit code ${code}\n${said}`);
  return () =>
    Bun.serve({
      hostname: "127.0.0.2",
      port: 443,
      // A relay that runs has the same port of every address.
      reusePort: true,
      tls: { cert: chainPem, key: keyPem },
      async fetch(request) {
        const file = Bun.file(join(ROOT, "dist/release", new URL(request.url).pathname));
        return (await file.exists()) ? new Response(file) : new Response("Not found\n", { status: 404 });
      },
    });
}

async function expectDone(script: string, notes: Notes): Promise<void> {
  const { code, output } = await run(script);
  if (code !== 0)
    throw new Error(`Cannot prepare what a page takes for granted: exit code ${code}\n${output}`);
  notes.read(output);
}

async function runPage(path: string): Promise<Report> {
  for (const dir of FOLDERS) mkdirSync(dir, { recursive: true });
  for (const name of NAMES) appendFileSync("/etc/hosts", `127.0.0.1 ${name}\n`);
  makeShims(join(STATE, "bin"));
  await placeFiles();
  await using authority: Pebble = await startPebble({ httpPort: 80 });
  appendFileSync(AUTHORITIES, await authority.rootPem());
  const caFile = join(STATE, "ca.pem");
  await Bun.write(caFile, authority.caPem);
  const session = {
    PATH: `${join(STATE, "bin")}:${process.env["PATH"]}`,
    HOME,
    PAGE_STATE: STATE,
    PAGE_BINARY: binaryPath(),
    PAGE_ACME_DIRECTORY: authority.directoryUrl,
    PAGE_ACME_CA_FILE: caFile,
    MODELRELAY_DATA_DIR: DATA_DIR,
    NODE_EXTRA_CA_CERTS: AUTHORITIES,
  };
  const exports = Object.entries(session).map(([name, value]) => `export ${name}='${value}'\n`);
  await Bun.write(join(STATE, "session"), exports.join(""));

  // An answer that is an error is one for a reader, too.
  await Bun.write(join(HOME, ".curlrc"), "fail-with-body\nno-progress-meter\n");

  const { blocks } = readPage(path);
  const notes = new Notes();
  const backend = startDemoBackend({ port: BACKEND_PORTS[path] ?? 11434, models: MODELS, tokenDelayMs: 0 });
  const isInstalled = blocks.some(({ text }) => text.includes(`https://${RELEASES}`));
  const release = isInstalled ? await makeRelease() : undefined;
  await expectDone("getent group modelrelay || groupadd --system modelrelay", notes);
  const hasRelay = FOR_CLIENTS.has(path) || FOR_OPERATORS.has(path);
  if (hasRelay)
    await expectDone("modelrelay serve --tls --domain relay.example.com --listen 127.0.0.1:8080", notes);
  if (FOR_CLIENTS.has(path)) {
    const secret = join(DATA_DIR, "worker-secret");
    await expectDone(
      `modelrelay worker --proxy-url https://relay.example.com --worker-secret-file ${secret}`,
      notes,
    );
    await expectDone("modelrelay keys create reader", notes);
  }
  const ran: Ran[] = [];
  for (const block of blocks) {
    const command = await commandOf(block);
    if (command === undefined) continue;
    await copyFiles();
    const server = command.includes(`https://${RELEASES}`) ? release?.() : undefined;
    const { code, output } = await run(notes.fillIn(command), notes.pasted);
    await server?.stop(true);
    notes.read(output);
    ran.push({ line: block.line, code, output });
  }
  await backend.stop();
  const pretended = join(STATE, "pretended");
  const names = existsSync(pretended) ? readFileSync(pretended, "utf8").trim().split("\n") : [];
  return { ran, pretended: [...new Set(names)] };
}

const [, , page = ""] = process.argv;
process.stdout.write(JSON.stringify(await runPage(page)));
