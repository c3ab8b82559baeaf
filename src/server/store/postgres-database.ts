import { SQL } from "bun";
import { wait } from "../../base/wait.ts";
import { withoutSecrets } from "./address.ts";
import {
  orAborted,
  type Access,
  type Database,
  type DatabaseSettings,
  type DatabaseTools,
  type Work,
} from "./database.ts";
import { isBusy, storeErrorOf } from "./failure.ts";
import { COLUMN_LIST, recordsOf, TYPED_COLUMN_LIST, type Value } from "./usage-columns.ts";

/** The relay asks for little, and all of it at once only when it starts. */
const MAX_CONNECTIONS = 4;
/** Two transactions that met try again after that, ms. */
const RETRY_MS = 20;
/** Part of a call's time after which the server gives a statement up, so that its answer comes before the end. */
const STATEMENT_SHARE = 0.9;

/** One statement for batches of all sizes: the server keeps each that it has prepared. */
const INSERT_USAGE = `INSERT INTO usage (${COLUMN_LIST}) SELECT ${COLUMN_LIST} FROM json_to_recordset($1::json) AS given (${TYPED_COLUMN_LIST}) ON CONFLICT (id) DO NOTHING`;

/** A PostgreSQL server. Its client connects again by itself; connections that hang are replaced. */
export class PostgresDatabase implements Database {
  readonly dialect = "postgres";
  readonly location: string;
  readonly #url: URL;
  readonly #settings: DatabaseSettings;
  readonly #tools: DatabaseTools;
  #pool: SQL | undefined;
  #closed = false;

  constructor(url: string, settings: DatabaseSettings, tools: DatabaseTools) {
    this.#url = new URL(url);
    this.location = withoutSecrets(this.#url);
    this.#settings = settings;
    this.#tools = tools;
  }

  /** Its rows go through the same connections as all else. */
  openUsage(): Promise<void> {
    return Promise.resolve();
  }

  async insertUsage(values: readonly Value[], signal: AbortSignal): Promise<void> {
    const records = recordsOf(values);
    await this.run("write", (sql) => sql.unsafe(INSERT_USAGE, [records]), signal);
  }

  async run<T>(access: Access, work: Work<T>, signal: AbortSignal): Promise<T> {
    for (;;) {
      signal.throwIfAborted();
      this.#pool ??= this.#connect();
      const pool = this.#pool;
      try {
        const running = access === "read" ? work(pool) : pool.begin((tx) => work(tx));
        return await orAborted(running, signal);
      } catch (thrown) {
        // The server gives statements up before that: this one does not answer at all.
        if (signal.aborted && this.#pool === pool) this.#replace();
        const error = storeErrorOf(thrown, this.dialect, this.location);
        if (signal.aborted || !isBusy(thrown)) throw error;
        await wait(this.#tools.clock, RETRY_MS, signal);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#pool?.close({ timeout: 1 });
  }

  #replace(): void {
    const hanging = this.#pool;
    this.#pool = undefined;
    // Its queries reject, which nobody waits for any more.
    hanging?.close({ timeout: 0 }).catch(() => {});
  }

  #connect(): SQL {
    if (this.#closed) throw new Error("Cannot connect: the store was closed");
    const { timeoutMs } = this.#settings;
    const database = decodeURIComponent(this.#url.pathname.slice(1));
    return new SQL(this.#url, {
      adapter: "postgres",
      max: MAX_CONNECTIONS,
      connectionTimeout: Math.max(1, Math.ceil(timeoutMs / 1_000)),
      // PGDATABASE would otherwise go before the name in the address.
      ...(database !== "" && { database }),
      connection: {
        application_name: "modelrelay",
        statement_timeout: Math.max(1, Math.floor(timeoutMs * STATEMENT_SHARE)),
        idle_in_transaction_session_timeout: timeoutMs * 2,
      },
    });
  }
}
