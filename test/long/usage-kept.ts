// What is kept of requests at full length, on the executable: 100,000 requests while the relay is killed every
// 10 s, a PostgreSQL that stops for a minute, and a disk that is full and has room again. It takes four minutes,
// which is why the tests do it shorter. By hand:
//
//     bun run build && bun test/long/usage-kept.ts [kills] [postgres] [disk]

import { Database } from "bun:sqlite";
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startTestBackend } from "../demo/backend.ts";
import { freePort } from "../e2e/tls-relay.ts";
import { runProgram, startModelrelay, type Program } from "../e2e/program.ts";
import { binaryPath } from "../support/binary.ts";
import { startPostgres } from "../support/postgres.ts";

const REQUESTS = 100_000;
const KILL_EVERY_MS = 10_000;
const STOPPED_MS = 60_000;
const FULL_MS = 10_000;
const CLIENTS = 32;
/** Between two requests of a client through a fault: what waits for the database then fits into its file. */
const PAUSE_MS = 20;
/** What may be lost at a kill has ended less than so many ms before it. */
const SAFE_AFTER_MS = 2_000;

const SECRET = "secret-of-the-long-run";
const BODY = JSON.stringify({ model: "demo-echo", messages: [{ role: "user", content: "hi" }] });

/** A relay at one address that can be killed and started again, and its worker, which stays. */
class Rig implements AsyncDisposable {
  readonly url: string;
  readonly done = new Map<string, number>();
  sent = 0;
  readonly #dataDir: string;
  readonly #flags: string[];
  readonly #backend = startTestBackend();
  #serve!: Program;
  #worker: Program | undefined;
  #key = "";

  constructor(dataDir: string, databaseUrl?: string) {
    const port = freePort();
    this.url = `http://127.0.0.1:${port}`;
    this.#dataDir = dataDir;
    this.#flags = [
      `--data-dir=${dataDir}`,
      ...(databaseUrl === undefined ? [] : [`--database-url=${databaseUrl}`]),
    ];
  }

  async start(): Promise<void> {
    if (this.#key === "") {
      const made = await runProgram([
        binaryPath(),
        "keys",
        "create",
        "ada",
        "--rpm=1000000000",
        ...this.#flags,
      ]);
      this.#key = made.stdout.trim();
    }
    const env = { WORKER_SECRET: SECRET };
    const listen = `--listen=${this.url.slice("http://".length)}`;
    this.#serve = startModelrelay(
      ["serve", listen, "--require-api-keys", "--log-level=warn", ...this.#flags],
      {
        env,
      },
    );
    while (!(await this.#ready())) await Bun.sleep(10);
    if (this.#worker !== undefined) return;
    const worker = ["worker", `--proxy-url=${this.url}`, `--backend-url=${this.#backend.url}`];
    this.#worker = startModelrelay([...worker, "--max-concurrency=64"], { env });
    await this.#worker.until(/Connected to the relay .*models=\S/);
  }

  async #ready(): Promise<boolean> {
    try {
      return (await fetch(`${this.url}/livez`)).ok;
    } catch {
      return false;
    }
  }

  async kill(): Promise<void> {
    this.#serve.kill("SIGKILL");
    await this.#serve.exited;
  }

  async stop(): Promise<void> {
    this.#serve.kill("SIGTERM");
    await this.#serve.exited;
  }

  /** Sends until it is told to stop; one that a kill cuts is no matter. */
  async send(isOver: () => boolean, pauseMs = 0): Promise<void> {
    while (!isOver()) {
      if (pauseMs > 0) await Bun.sleep(pauseMs);
      this.sent++;
      try {
        const headers = { authorization: `Bearer ${this.#key}`, "content-type": "application/json" };
        const response = await fetch(`${this.url}/v1/chat/completions`, {
          method: "POST",
          headers,
          body: BODY,
        });
        await response.text();
        if (response.ok) this.done.set(response.headers.get("x-request-id") ?? "", performance.now());
      } catch {
        await Bun.sleep(20);
      }
    }
  }

  async warnings(): Promise<string[]> {
    return ((await (await fetch(`${this.url}/readyz`)).json()) as { warnings: string[] }).warnings;
  }

  /** Requests that the relay has counted for the key. */
  async counted(): Promise<number> {
    const token = readFileSync(join(this.#dataDir, "admin-token"), "utf8").trim();
    const headers = { authorization: `Bearer ${token}` };
    const answer = await fetch(`${this.url}/admin/usage?by=key`, { headers });
    const { usage } = (await answer.json()) as { usage: { group: string; requests: number }[] };
    return usage.find(({ group }) => group === "ada")?.requests ?? 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.[Symbol.asyncDispose]();
    await this.#serve[Symbol.asyncDispose]();
    await this.#backend[Symbol.asyncDispose]();
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function newDir(): string {
  return mkdtempSync(join(tmpdir(), "modelrelay-long-"));
}

async function kills(): Promise<boolean> {
  const dir = newDir();
  await using rig = new Rig(dir);
  await rig.start();
  const safe: string[] = [];
  let over = false;
  const clients = Array.from({ length: CLIENTS }, () => rig.send(() => over));
  let killed = 0;
  while (rig.done.size + safe.length < REQUESTS) {
    await Bun.sleep(KILL_EVERY_MS);
    const at = performance.now();
    await rig.kill();
    killed++;
    for (const [id, endedAt] of rig.done) if (endedAt < at - SAFE_AFTER_MS) safe.push(id);
    rig.done.clear();
    await rig.start();
  }
  over = true;
  await Promise.all(clients);
  await rig.stop();
  await rig.start();
  while ((await rig.warnings()).some((warning) => warning.startsWith("usage"))) await Bun.sleep(20);
  await rig.stop();
  safe.push(...rig.done.keys());
  using database = new Database(join(dir, "modelrelay.db"), { readonly: true });
  const rows = database.query("SELECT id FROM usage WHERE outcome = 'complete'").all() as { id: string }[];
  const ids = new Set(rows.map(({ id }) => id));
  const missing = safe.filter((id) => !ids.has(id)).length;
  say(
    `kills: ${killed} of the relay, ${rig.sent} requests sent, ${safe.length} that must be kept, ` +
      `${rows.length} rows, ${rows.length - ids.size} twice, ${missing} missing`,
  );
  rmSync(dir, { recursive: true });
  return missing === 0 && rows.length === ids.size && safe.length > REQUESTS / 2;
}

/** Sends through a fault, and compares what was answered with what is counted when it is over. */
async function through(name: string, rig: Rig, fault: () => Promise<void>): Promise<boolean> {
  await rig.start();
  let over = false;
  const clients = Array.from({ length: CLIENTS }, () => rig.send(() => over, PAUSE_MS));
  await fault();
  while ((await rig.warnings()).length > 0) await Bun.sleep(50);
  const answered = rig.done.size;
  over = true;
  await Promise.all(clients);
  while ((await rig.counted()) < rig.done.size) await Bun.sleep(50);
  await Bun.sleep(2 * SAFE_AFTER_MS);
  const counted = await rig.counted();
  say(
    `${name}: ${rig.sent} requests sent, ${answered} answered when it was over, ${rig.done.size} in all, ${counted} counted`,
  );
  return counted === rig.done.size && rig.sent === rig.done.size;
}

async function postgres(): Promise<boolean> {
  const dir = newDir();
  await using server = await startPostgres();
  await using rig = new Rig(dir, await server.createDatabase());
  const ok = await through("postgres", rig, async () => {
    await Bun.sleep(2_000);
    server.signal("SIGSTOP");
    await Bun.sleep(STOPPED_MS);
    say(`postgres: stopped for ${STOPPED_MS / 1_000} s; warnings: ${JSON.stringify(await rig.warnings())}`);
    server.signal("SIGCONT");
  });
  rmSync(dir, { recursive: true });
  return ok;
}

/** Takes what room there is, to the last page. */
function fill(path: string): void {
  for (const bytes of [1_048_576, 4_096]) {
    try {
      for (;;) appendFileSync(path, Buffer.alloc(bytes));
    } catch {
      // No more of this size.
    }
  }
}

async function disk(): Promise<boolean> {
  const dir = newDir();
  const data = join(dir, "data");
  mkdirSync(data, { mode: 0o700 });
  const mounted = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "tmpfs", data]);
  if (mounted.exitCode !== 0) {
    say(`disk: not run, as no disk can be mounted here: ${mounted.stderr.toString().trim()}`);
    return false;
  }
  try {
    await using rig = new Rig(data);
    return await through("disk", rig, async () => {
      await Bun.sleep(1_000);
      const filler = join(data, "filler");
      fill(filler);
      while (!(await rig.warnings()).some((warning) => warning.includes("database"))) await Bun.sleep(50);
      await Bun.sleep(FULL_MS);
      say(`disk: full for ${FULL_MS / 1_000} s; warnings: ${JSON.stringify(await rig.warnings())}`);
      rmSync(filler);
    });
  } finally {
    Bun.spawnSync(["umount", data]);
    rmSync(dir, { recursive: true });
  }
}

const PARTS = { kills, postgres, disk };
const wanted = process.argv.slice(2);
let failed = 0;
for (const [name, run] of Object.entries(PARTS)) {
  if (wanted.length > 0 && !wanted.includes(name)) continue;
  if (!(await run())) {
    say(`${name}: NOT as it must be`);
    failed++;
  }
}
process.exit(failed === 0 ? 0 : 1);
