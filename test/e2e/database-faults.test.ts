import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { startTestBackend } from "../demo/backend.ts";
import { binaryPath } from "../support/binary.ts";
import { lacksPart } from "../support/parts.ts";
import { startPostgres } from "../support/postgres.ts";
import { runProgram, startModelrelay, startProgram } from "./program.ts";
import { startRelayed, type Relayed } from "./relayed.ts";

const CHAT = { model: "demo-echo", messages: [{ role: "user", content: "hi" }] };
/** One that no relay has made. */
const UNKNOWN = `mr_live_${"x".repeat(43)}`;

interface Kept {
  dir: TempDir;
  flags: string[];
  key: string;
}

/** A relay that asks for keys, with one key in its database. */
async function keyed(dir: TempDir, databaseUrl?: string): Promise<Kept> {
  const flags = [
    "--data-dir",
    dir.path,
    ...(databaseUrl === undefined ? [] : ["--database-url", databaseUrl]),
  ];
  const { stdout, stderr, code } = await runProgram([binaryPath(), "keys", "create", "ada", ...flags]);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return { dir, flags, key: stdout.trim() };
}

async function status(relayed: Relayed, key: string): Promise<number> {
  const response = await relayed.post("/v1/chat/completions", CHAT, {
    headers: { authorization: `Bearer ${key}` },
  });
  await response.text();
  return response.status;
}

async function readiness(relayed: Relayed): Promise<{ ready: boolean; warnings: string[] }> {
  return (await (await fetch(`${relayed.url}/readyz`)).json()) as { ready: boolean; warnings: string[] };
}

/** Asks again and again until it holds, and counts the requests that were sent meanwhile. */
async function relayUntil(relayed: Relayed, key: string, when: () => Promise<boolean>): Promise<number> {
  for (let sent = 1; ; sent++) {
    expect(await status(relayed, key)).toBe(200);
    if (await when()) return sent;
  }
}

/** Waits until the database holds that many requests of the key; it must never hold more. */
async function recorded(relayed: Relayed, kept: Kept, requests: number): Promise<void> {
  const token = readFileSync(join(kept.dir.path, "admin-token"), "utf8").trim();
  for (;;) {
    const response = await fetch(`${relayed.url}/admin/usage?by=key`, {
      headers: { authorization: `Bearer ${token}` },
    });
    expect(response.status).toBe(200);
    const { usage } = (await response.json()) as { usage: { group: string; requests: number }[] };
    const count = usage.find(({ group }) => group === "ada")?.requests ?? 0;
    expect(count).toBeLessThanOrEqual(requests);
    if (count === requests) return;
  }
}

async function tellsOfDatabase(relayed: Relayed): Promise<boolean> {
  return (await readiness(relayed)).warnings.some((warning) => warning.includes("database"));
}

describe("A relay whose SQLite database", () => {
  test("is locked for 2 s relays on, and counts every request once", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    const kept = await keyed(dir);
    await using relayed = await startRelayed({
      backendUrl: backend.url,
      serve: [...kept.flags, "--require-api-keys"],
    });
    const file = join(dir.path, "modelrelay.db");
    const holder = join(import.meta.dir, "../server/store/lock-holder.ts");
    await using lock = startProgram([process.execPath, holder, file, "2000"]);
    await lock.until(/locked/, "stdout");
    let held = true;
    void lock.exited.then(() => (held = false));
    const sent = await relayUntil(relayed, kept.key, () => Promise.resolve(!held));
    expect(sent).toBeGreaterThan(1);
    expect(await status(relayed, UNKNOWN)).toBe(401);
    await recorded(relayed, kept, sent);
  }, 30_000);

  test("cannot grow any more relays on, and says so", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    const kept = await keyed(dir);
    // A limit for files in place of a full disk; the signal that comes with it is not for this program.
    const script = `trap '' XFSZ; ulimit -f 200; exec "$0" "$@"`;
    await using serve = startProgram(
      [
        "/bin/bash",
        "-c",
        script,
        binaryPath(),
        "serve",
        "--listen=127.0.0.1:0",
        "--require-api-keys",
        ...kept.flags,
      ],
      { env: { WORKER_SECRET: "secret-of-a-full-disk" } },
    );
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    await using worker = startModelrelay(["worker", `--proxy-url=${url}`, `--backend-url=${backend.url}`], {
      env: { WORKER_SECRET: "secret-of-a-full-disk" },
    });
    await worker.until(/Connected to the relay .*models=\S/);
    const relayed = {
      url,
      post: (path: string, body: unknown, init: RequestInit) =>
        fetch(url + path, { method: "POST", ...init, body: JSON.stringify(body) }),
    } as Relayed;
    await relayUntil(relayed, kept.key, () => tellsOfDatabase(relayed));
    for (let more = 0; more < 20; more++) expect(await status(relayed, kept.key)).toBe(200);
    expect(await status(relayed, UNKNOWN)).not.toBe(200);
    expect((await readiness(relayed)).ready).toBe(true);
  }, 60_000);
});

describe.skipIf(lacksPart("postgres"))("A relay whose PostgreSQL", () => {
  for (const fault of ["is stopped", "is killed"] as const) {
    test(`${fault} relays known keys on and lets no other in, and counts every request once when it is back`, async () => {
      using dir = new TempDir();
      await using backend = startTestBackend();
      await using postgres = await startPostgres();
      const kept = await keyed(dir, await postgres.createDatabase());
      await using relayed = await startRelayed({
        backendUrl: backend.url,
        serve: [...kept.flags, "--require-api-keys"],
      });
      expect(await status(relayed, kept.key)).toBe(200);
      if (fault === "is stopped") postgres.signal("SIGSTOP");
      else await postgres.kill();
      // It takes a moment until silence counts as an answer.
      const meanwhile = await relayUntil(
        relayed,
        kept.key,
        async () => (await tellsOfDatabase(relayed)) && (await status(relayed, UNKNOWN)) === 503,
      );
      expect((await readiness(relayed)).ready).toBe(true);
      if (fault === "is stopped") postgres.signal("SIGCONT");
      else await postgres.start();
      const after = await relayUntil(
        relayed,
        kept.key,
        async () => !(await tellsOfDatabase(relayed)) && (await status(relayed, UNKNOWN)) === 401,
      );
      await recorded(relayed, kept, 1 + meanwhile + after);
    }, 120_000);
  }
});
