import { SQL } from "bun";
import { wait } from "../../base/wait.ts";
import { withoutSecrets } from "./address.ts";
import { integer, text, type Row } from "./columns.ts";
import {
  orAborted,
  type Access,
  type Database,
  type DatabaseSettings,
  type DatabaseTools,
  type Work,
} from "./database.ts";
import { isBusy, storeErrorOf } from "./failure.ts";
import {
  KIND_LIST,
  KIND_NAMES,
  recordsOf,
  REQUEST_LIST,
  REQUEST_NAMES,
  TYPED_KIND_LIST,
  TYPED_REQUEST_LIST,
  type UsageBatch,
} from "./usage-columns.ts";
import { type NewKind, UsageKinds } from "./usage-kinds.ts";

/** The relay asks for little, and all of it at once only when it starts. */
const MAX_CONNECTIONS = 4;
/** Two transactions that met try again after that, ms. */
const RETRY_MS = 20;
/** Part of a call's time after which the server gives a statement up, so that its answer comes before the end. */
const STATEMENT_SHARE = 0.9;

// One statement each for batches of all sizes: the server keeps each that it has prepared.

/** In one order, so that two relays never wait for each other's rows. */
const ADD_KINDS = `INSERT INTO request_kinds (identity, used_day, ${KIND_LIST})
  SELECT identity, $2::integer, ${KIND_LIST} FROM json_to_recordset($1::json) AS given (identity text, ${TYPED_KIND_LIST})
  ORDER BY identity
  ON CONFLICT (identity) DO UPDATE SET used_day = GREATEST(request_kinds.used_day, excluded.used_day)
  RETURNING id, identity`;

const ADD_REQUESTS = `INSERT INTO requests (${REQUEST_LIST})
  SELECT ${REQUEST_LIST} FROM json_to_recordset($1::json) AS given (${TYPED_REQUEST_LIST})
  ON CONFLICT (id) DO NOTHING`;

/** A PostgreSQL server. Its client connects again by itself; connections that hang are replaced. */
export class PostgresDatabase implements Database {
  readonly dialect = "postgres";
  readonly location: string;
  readonly #url: URL;
  readonly #settings: DatabaseSettings;
  readonly #tools: DatabaseTools;
  #pool: SQL | undefined;
  #closed = false;
  readonly #kinds = new UsageKinds();

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

  async insertUsage({ kinds, requests }: UsageBatch, signal: AbortSignal): Promise<void> {
    // Two that were different before they were made fit for the server may be one now.
    const missing = new Map<string, NewKind>();
    const added = await this.run(
      "write",
      async (sql) => {
        // Looked at on a connection: what was known before it was made may not hold.
        const day = this.#kinds.begin(this.#tools.clock.wall(), requests);
        const found = kinds.map((values) => this.#kinds.find(values));
        missing.clear();
        for (const kind of found) if (typeof kind !== "number") missing.set(kind.identity, kind);
        const ids = await addKinds(sql, [...missing.values()], day);
        const idOf = (kind: number | NewKind) => (typeof kind === "number" ? kind : ids.get(kind.identity));
        const rows = recordsOf(REQUEST_NAMES, requests);
        for (const row of rows) row["kind"] = idOf(found[row["kind"] as number]!) ?? null;
        await sql.unsafe(ADD_REQUESTS, [rows]);
        return ids;
      },
      signal,
    );
    for (const [identity, id] of added) this.#kinds.learn(missing.get(identity)!, id);
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
      // Behind the address there may be another server then, which has not heard of what was stored last.
      onclose: () => this.#kinds.forget(),
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

/** @returns their numbers by their identities */
async function addKinds(sql: SQL, kinds: readonly NewKind[], day: number): Promise<Map<string, number>> {
  if (kinds.length === 0) return new Map();
  const records = kinds.map(({ identity, values }) => ({ identity, ...recordsOf(KIND_NAMES, values)[0] }));
  const rows: Row[] = await sql.unsafe(ADD_KINDS, [records, day]);
  return new Map(rows.map((row) => [text(row["identity"]), integer(row["id"])]));
}
