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
];

/** The version that this program's statements are written for. */
export const SCHEMA_VERSION: number = MIGRATIONS.length;
