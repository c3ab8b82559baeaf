import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { DATABASE_FILE } from "../../../src/server/store/store.ts";
import { SPOOL_FILE } from "../../../src/server/usage/index.ts";
import { startWorker } from "../../../src/worker/index.ts";
import { TempDir } from "../../commands/reading.ts";
import { Program } from "../../faults/processes.ts";
import { startFakeBackend } from "../../support/fake-backend.ts";
import { SECRET } from "../../support/relays.ts";
import { EXTRA } from "./recorded.ts";

/** What may be lost at a kill has ended less than so many ms before it. */
const SAFE_AFTER_MS = 2_000;
/** Requests of a round that must be kept, at least. */
const SAFE_EACH_ROUND = 10;
const CLIENTS = 6;

const usage = { prompt_tokens: 20, completion_tokens: 7, total_tokens: 27 };

/** A relay of its own process, with a worker that answers at once. */
class Killable {
  readonly dir = new TempDir();
  /** Requests of this round that were answered whole: their ids, and when. */
  readonly done = new Map<string, number>();
  sent = 0;
  #stopped = false;

  /** Serves requests until `ended` says so, then kills the relay. @returns ids that must be kept */
  async round(ended: (url: string) => Promise<boolean>): Promise<string[]> {
    this.done.clear();
    this.#stopped = false;
    await using relay = this.start();
    const url = await relay.url();
    await using backend = await startFakeBackend(["m"]);
    void (async () => {
      for (;;) {
        const exchange = await backend.next();
        if (!exchange.body.includes('"stream":true')) exchange.answer(200, { model: "m-q4", usage });
        else {
          exchange.head(200, { "content-type": "text/event-stream" });
          exchange.write(`data: {"choices":[{"delta":{"content":"x"}}]}\n\n${EXTRA}data: [DONE]\n\n`);
          exchange.end();
        }
      }
    })();
    await using running = startWorker(
      {
        proxyUrl: url,
        workerSecret: SECRET,
        backendUrl: backend.url,
        models: { all: true, names: [] },
        workerName: "box",
        maxConcurrency: CLIENTS,
        provider: "local",
        linkVersion: "auto",
        drainTimeoutMs: 0,
        firstByteTimeoutMs: 0,
        idleTimeoutMs: 0,
      },
      { clock: systemClock, log: silentLog, random: () => 0 },
    );
    const clients = Array.from({ length: CLIENTS }, async (_, n) => {
      while (!this.#stopped) await this.ask(url, n % 2 === 0);
    });
    while (!(await ended(url)));
    const killedAt = performance.now();
    relay.signal("SIGKILL");
    this.#stopped = true;
    await Promise.all([relay.exited, ...clients]);
    running.stop();
    return [...this.done].filter(([, at]) => at < killedAt - SAFE_AFTER_MS).map(([id]) => id);
  }

  start(): Program {
    return new Program("serve", ["--listen", "127.0.0.1:0", "--data-dir", this.dir.path]);
  }

  /** One request; one that the kill cuts, or that comes before the worker, is no matter. */
  async ask(url: string, stream: boolean): Promise<void> {
    this.sent++;
    try {
      const body = JSON.stringify({ model: "m", stream, messages: [] });
      const response = await fetch(`${url}/v1/chat/completions`, { method: "POST", body });
      await response.text();
      if (response.ok) this.done.set(response.headers.get("x-request-id") ?? "", performance.now());
    } catch {
      // The relay is gone.
    }
  }

  /** What is in the database once a last relay has stored what those before it could not. */
  async rows(): Promise<{ id: string; prompt_tokens: number; completion_tokens: number; outcome: string }[]> {
    await using last = this.start();
    const url = await last.url();
    for (;;) {
      const { warnings } = (await (await fetch(`${url}/readyz`)).json()) as { warnings: string[] };
      if (!warnings.some((warning) => warning.startsWith("usage"))) break;
    }
    last.signal("SIGTERM");
    await last.exited;
    // Absent, if it was never needed.
    expect(Bun.file(join(this.dir.path, SPOOL_FILE)).size).toBe(0);
    using database = new Database(join(this.dir.path, DATABASE_FILE), { readonly: true });
    return database.query("SELECT id, prompt_tokens, completion_tokens, outcome FROM usage").all() as never;
  }

  [Symbol.dispose](): void {
    this.dir[Symbol.dispose]();
  }
}

/** Says yes once it has been running for so long, and so many requests are safe as a slow machine takes its time for. */
function after(killable: Killable, ms: number): () => Promise<boolean> {
  const startedAt = performance.now();
  return async () => {
    await new Promise((resolve) => setImmediate(resolve));
    const now = performance.now();
    const safe = killable.done.values().drop(SAFE_EACH_ROUND).next().value;
    return safe !== undefined && safe < now - SAFE_AFTER_MS && now - startedAt > ms;
  };
}

function expectEachOnce(rows: { id: string }[], kept: string[], { sent }: Killable): void {
  const ids = new Set(rows.map(({ id }) => id));
  expect(ids.size).toBe(rows.length);
  expect(rows.length).toBeLessThanOrEqual(sent);
  expect(kept.length).toBeGreaterThan(20);
  expect(kept.filter((id) => !ids.has(id))).toEqual([]);
}

describe("A relay that is killed", () => {
  test("has counted each request that was complete two seconds before, once", async () => {
    using killable = new Killable();
    const kept: string[] = [];
    for (let round = 0; round < 3; round++) kept.push(...(await killable.round(after(killable, 3_000))));
    const rows = await killable.rows();
    expectEachOnce(rows, kept, killable);
    const complete = rows.filter(({ outcome, prompt_tokens }) => outcome === "complete" && prompt_tokens > 0);
    expect(complete.every((row) => row.prompt_tokens === 20 && row.completion_tokens === 7)).toBe(true);
    expect(complete.length).toBeGreaterThanOrEqual(kept.length);
  }, 60_000);

  test("has counted them also while its database was locked, and served them meanwhile", async () => {
    using killable = new Killable();
    let lock: Database | undefined;
    const warned: string[] = [];
    const locked = after(killable, 4_000);
    const kept = await killable.round(async (url) => {
      if (lock === undefined) {
        lock = new Database(join(killable.dir.path, DATABASE_FILE));
        lock.run("BEGIN IMMEDIATE");
      }
      const ready = (await (await fetch(`${url}/readyz`)).json()) as { ready: boolean; warnings: string[] };
      warned.push(...ready.warnings.filter((warning) => warning.startsWith("usage waits to be stored")));
      return locked();
    });
    expect(warned.length).toBeGreaterThan(0);
    lock?.run("ROLLBACK");
    lock?.close();
    expectEachOnce(await killable.rows(), kept, killable);
  }, 60_000);
});
