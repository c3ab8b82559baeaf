import { closeSync, chmodSync, existsSync, fchownSync, mkdirSync, openSync, statSync } from "node:fs";
import { dirname } from "node:path";
import { pathToFileURL } from "node:url";
import { SQL } from "bun";
import { errorCode } from "../../base/errors.ts";
import { wait } from "../../base/wait.ts";
import type { Access, Database, DatabaseSettings, DatabaseTools, Work } from "./database.ts";
import { isBusy, storeErrorOf } from "./failure.ts";
import { SqliteUsage } from "./sqlite-usage.ts";
import { StoreError } from "./store-error.ts";
import type { UsageBatch } from "./usage-columns.ts";

/** SQLite itself waits that long for a lock, ms; the thread does nothing else meanwhile. */
const BUSY_MS = 50;
/** Between two such waits, for the calls behind it. */
const RETRY_MS = 10;
/** What the file of recent changes is cut to after a burst. */
const JOURNAL_LIMIT_BYTES = 64 * 1024 * 1024;

/** Of each connection. */
const PRAGMAS = [
  `PRAGMA busy_timeout = ${BUSY_MS}`,
  "PRAGMA foreign_keys = ON",
  "PRAGMA synchronous = NORMAL",
  `PRAGMA journal_size_limit = ${JOURNAL_LIMIT_BYTES}`,
];

/** A file on which one piece of work is done at a time. */
export class SqliteDatabase implements Database {
  readonly dialect = "sqlite";
  readonly location: string;
  readonly #settings: DatabaseSettings;
  readonly #tools: DatabaseTools;
  #sql: SQL | undefined;
  #usage: SqliteUsage | undefined;
  /** Ends when the work before the next one has. */
  #turn: Promise<unknown> = Promise.resolve();

  constructor(settings: DatabaseSettings, tools: DatabaseTools) {
    this.location = settings.file;
    this.#settings = settings;
    this.#tools = tools;
  }

  run<T>(access: Access, work: Work<T>, signal: AbortSignal): Promise<T> {
    return this.#untilFree(signal, () => this.#attempt(access, work));
  }

  openUsage(signal: AbortSignal): Promise<void> {
    return this.#untilFree(signal, async () => {
      this.#usageRows();
    });
  }

  insertUsage(batch: UsageBatch, signal: AbortSignal): Promise<void> {
    return this.#untilFree(signal, async () => {
      this.#usageRows().insert(batch, this.#tools.clock.wall());
    });
  }

  #usageRows(): SqliteUsage {
    return (this.#usage ??= new SqliteUsage(this.location, PRAGMAS));
  }

  async #untilFree<T>(signal: AbortSignal, attempt: () => Promise<T>): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await this.#inTurn(() => this.#attended(attempt));
      } catch (thrown) {
        const error = storeErrorOf(thrown, this.dialect, this.location);
        if (!isBusy(thrown)) throw error;
        try {
          await wait(this.#tools.clock, RETRY_MS, signal);
        } catch {
          throw error;
        }
      }
    }
  }

  async close(): Promise<void> {
    await this.#inTurn(() => this.#forget());
  }

  async #inTurn<T>(work: () => Promise<T>): Promise<T> {
    const mine = this.#turn.then(work);
    this.#turn = mine.catch(() => {});
    return mine;
  }

  async #attempt<T>(access: Access, work: Work<T>): Promise<T> {
    this.#sql ??= await this.#open();
    const sql = this.#sql;
    if (access === "read") return work(sql);
    // Takes the lock first: a transaction that has read may not be able to write any more.
    return sql.begin("immediate", (tx) => work(tx));
  }

  async #attended<T>(attempt: () => Promise<T>): Promise<T> {
    try {
      return await attempt();
    } catch (thrown) {
      // A connection that met a full or failing disk may still be in a transaction.
      if (!isBusy(thrown) && !(errorCode(thrown) ?? "").startsWith("SQLITE_CONSTRAINT")) await this.#forget();
      throw thrown;
    }
  }

  async #open(): Promise<SQL> {
    const { file, purpose } = this.#settings;
    if (purpose === "serve") makeFile(file);
    else if (!existsSync(file)) {
      throw new StoreError("store_missing", `Cannot find a database: there is no file "${file}"`, {
        action: "Name the relay's data directory with --data-dir; modelrelay serve makes the database in it",
      });
    }
    // As a path, what follows a question mark would be parameters.
    const sql = new SQL({ adapter: "sqlite", filename: pathToFileURL(file), create: false, readwrite: true });
    try {
      for (const pragma of PRAGMAS) await sql.unsafe(pragma);
      if (purpose === "serve") await sql.unsafe("PRAGMA journal_mode = WAL");
      return sql;
    } catch (thrown) {
      await sql.close();
      throw thrown;
    }
  }

  async #forget(): Promise<void> {
    const sql = this.#sql;
    this.#sql = undefined;
    this.#usage?.close();
    this.#usage = undefined;
    await sql?.close();
  }
}

/** Only the relay's user reads keys and usage: directory 0700, file 0600, whatever the umask. */
function makeFile(file: string): void {
  const folder = dirname(file);
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  if (existsSync(file)) {
    if (process.platform !== "win32" && (statSync(file).mode & 0o077) !== 0) chmodSync(file, 0o600);
    return;
  }
  const handle = openSync(file, "a", 0o600);
  try {
    // Made by root in another user's directory it belongs to that user, whose relay could not open it otherwise.
    const { uid, gid } = statSync(folder);
    if (process.getuid?.() === 0 && uid !== 0) fchownSync(handle, uid, gid);
  } finally {
    closeSync(handle);
  }
}
