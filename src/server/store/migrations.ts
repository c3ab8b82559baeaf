import type { Dialect } from "./database.ts";

/** One step of the tables' history. Once released, a step never changes: what is wrong with it is mended by the next. */
export interface Migration {
  /** 1 for the first; no gaps. */
  version: number;
  /** Statements that both databases take, but for the key that counts by itself. */
  statements(dialect: Dialect): Iterable<string>;
}

/** Counts rows in the order in which they were inserted. */
const SERIAL: Record<Dialect, string> = {
  sqlite: "INTEGER PRIMARY KEY AUTOINCREMENT",
  postgres: "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
};

/** Bytes as they are. */
const BYTES: Record<Dialect, string> = { sqlite: "BLOB", postgres: "BYTEA" };

const DAY_MS = 86_400_000;

/**
 * One text of columns, which is another one for other values; PostgreSQL has no index for long ones. A kind that
 * is used again later gets a second row, under the identity that usage-kinds.ts gives it.
 */
const IDENTITY: Record<Dialect, (columns: string) => string> = {
  sqlite: (columns) => `json_array(${columns})`,
  postgres: (columns) => `md5(json_build_array(${columns})::text)`,
};

/** Of the table `usage` as it was until version 2, what a kind of requests has in common. */
const OLD_KIND = "key_id, key_name, model, served_model, worker, path, status, outcome, reason, estimated";

function qualified(table: string, columns: string): string {
  return columns.replaceAll(/\w+/g, (column) => `${table}.${column}`);
}

/** Times are ms since the epoch; a flag is 0 or 1; lists and limits are JSON. */
export const MIGRATIONS: readonly Migration[] = [
  {
    version: 1,
    statements: (dialect) => [
      `CREATE TABLE meta (
        name TEXT PRIMARY KEY,
        value TEXT NOT NULL
      )`,
      "INSERT INTO meta (name, value) VALUES ('revision', '0')",
      `CREATE TABLE keys (
        serial ${SERIAL[dialect]},
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        prefix TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        models TEXT,
        priority TEXT NOT NULL,
        limits TEXT NOT NULL,
        created_at BIGINT NOT NULL,
        expires_at BIGINT,
        revoked_at BIGINT,
        last_used_at BIGINT
      )`,
      `CREATE TABLE worker_secrets (
        serial ${SERIAL[dialect]},
        id TEXT NOT NULL UNIQUE,
        name TEXT NOT NULL,
        prefix TEXT NOT NULL,
        hash TEXT NOT NULL UNIQUE,
        models TEXT,
        created_at BIGINT NOT NULL,
        revoked_at BIGINT
      )`,
      `CREATE TABLE usage (
        id TEXT PRIMARY KEY,
        at BIGINT NOT NULL,
        key_id TEXT,
        key_name TEXT,
        model TEXT NOT NULL,
        served_model TEXT,
        worker TEXT,
        path TEXT NOT NULL,
        status INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL,
        queue_ms BIGINT,
        first_byte_ms BIGINT,
        total_ms BIGINT NOT NULL,
        prompt_tokens BIGINT NOT NULL,
        completion_tokens BIGINT NOT NULL,
        cached_tokens BIGINT NOT NULL,
        estimated INTEGER NOT NULL,
        bytes_in BIGINT NOT NULL,
        bytes_out BIGINT NOT NULL
      )`,
      "CREATE INDEX usage_by_time ON usage (at)",
      "CREATE INDEX usage_by_key_and_time ON usage (key_id, at)",
    ],
  },
  {
    version: 2,
    statements: (dialect) => [
      `CREATE TABLE bodies (
        id TEXT PRIMARY KEY,
        at BIGINT NOT NULL,
        request_bytes BIGINT NOT NULL,
        answer_bytes BIGINT NOT NULL,
        request ${BYTES[dialect]} NOT NULL,
        answer ${BYTES[dialect]} NOT NULL
      )`,
      "CREATE INDEX bodies_by_time ON bodies (at)",
    ],
  },
  {
    // What most requests have in common is kept once, and `usage` is a view of both (usage-columns.ts).
    version: 3,
    statements: (dialect) => [
      // A relay of version 2 may still be storing: what it adds behind the copy would go with the old table.
      // Within SQLite's transaction nobody else writes.
      ...(dialect === "postgres" ? ["LOCK TABLE usage IN EXCLUSIVE MODE"] : []),
      `CREATE TABLE request_kinds (
        id ${SERIAL[dialect]},
        identity TEXT NOT NULL UNIQUE,
        used_day INTEGER NOT NULL,
        key_id TEXT,
        key_name TEXT,
        model TEXT NOT NULL,
        served_model TEXT,
        worker TEXT,
        path TEXT NOT NULL,
        status INTEGER NOT NULL,
        outcome TEXT NOT NULL,
        reason TEXT NOT NULL,
        estimated INTEGER NOT NULL
      )`,
      `CREATE TABLE requests (
        id TEXT PRIMARY KEY,
        at BIGINT NOT NULL,
        kind BIGINT NOT NULL,
        queue_ms BIGINT,
        first_byte_ms BIGINT,
        total_ms BIGINT NOT NULL,
        prompt_tokens BIGINT NOT NULL,
        completion_tokens BIGINT NOT NULL,
        cached_tokens BIGINT NOT NULL,
        bytes_in BIGINT NOT NULL,
        bytes_out BIGINT NOT NULL
      )`,
      `INSERT INTO request_kinds (identity, used_day, ${OLD_KIND})
        SELECT ${IDENTITY[dialect](OLD_KIND)}, MAX(at) / ${DAY_MS}, ${OLD_KIND} FROM usage GROUP BY ${OLD_KIND}`,
      `INSERT INTO requests
        SELECT usage.id, usage.at, request_kinds.id, queue_ms, first_byte_ms, total_ms, prompt_tokens,
          completion_tokens, cached_tokens, bytes_in, bytes_out
        FROM usage JOIN request_kinds ON request_kinds.identity = ${IDENTITY[dialect](qualified("usage", OLD_KIND))}`,
      "DROP TABLE usage",
      // With the kind in it, rows of another key are passed over without being read.
      "CREATE INDEX requests_by_time ON requests (at, kind)",
      `CREATE VIEW usage AS
        SELECT requests.id AS id, at, key_id, key_name, model, served_model, worker, path, status, outcome, reason,
          queue_ms, first_byte_ms, total_ms, prompt_tokens, completion_tokens, cached_tokens, estimated, bytes_in,
          bytes_out
        FROM requests LEFT JOIN request_kinds ON request_kinds.id = requests.kind`,
    ],
  },
];

/** The version that this program's statements are written for. */
export const SCHEMA_VERSION: number = MIGRATIONS.length;
