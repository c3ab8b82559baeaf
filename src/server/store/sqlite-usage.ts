import { Database } from "bun:sqlite";
import { COLUMN_LIST, COLUMN_NAMES, type Value } from "./usage-columns.ts";

/**
 * Rows of the statement that most rows go through. Each call from here takes as long as a row does, and with
 * more parameters SQLite itself takes longer for each (2026-11).
 */
const ROWS_AT_ONCE = 25;

type Insert = ReturnType<Database["prepare"]>;

/**
 * Adds rows of usage to a SQLite file, over a connection of its own with statements that are prepared once:
 * the client that all else goes through prepares each statement anew, which for a batch takes as long as
 * storing it (5.5 µs a row, and 3 in this way).
 */
export class SqliteUsage {
  readonly #database: Database;
  readonly #many: Insert;
  readonly #one: Insert;

  /**
   * @param pragmas of the connection
   * @throws if there is no such file, or no such table in it
   */
  constructor(file: string, pragmas: readonly string[]) {
    this.#database = new Database(file, { readwrite: true, create: false });
    try {
      for (const pragma of pragmas) this.#database.run(pragma);
      this.#many = this.#prepare(ROWS_AT_ONCE);
      this.#one = this.#prepare(1);
    } catch (thrown) {
      this.#database.close();
      throw thrown;
    }
  }

  /** In one transaction. @param values of the rows, one behind the other; those that are there are left */
  insert(values: readonly Value[]): void {
    const database = this.#database;
    database.run("BEGIN IMMEDIATE");
    try {
      const size = ROWS_AT_ONCE * COLUMN_NAMES.length;
      let at = 0;
      for (; at + size <= values.length; at += size) this.#many.run(...values.slice(at, at + size));
      for (; at < values.length; at += COLUMN_NAMES.length)
        this.#one.run(...values.slice(at, at + COLUMN_NAMES.length));
      database.run("COMMIT");
    } finally {
      // A full disk may have ended it already.
      if (database.inTransaction) database.run("ROLLBACK");
    }
  }

  close(): void {
    this.#many.finalize();
    this.#one.finalize();
    this.#database.close();
  }

  #prepare(rows: number): Insert {
    const places = `(${COLUMN_NAMES.map(() => "?").join(",")})`;
    const all = Array<string>(rows).fill(places).join(",");
    return this.#database.prepare(
      `INSERT INTO usage (${COLUMN_LIST}) VALUES ${all} ON CONFLICT (id) DO NOTHING`,
    );
  }
}
