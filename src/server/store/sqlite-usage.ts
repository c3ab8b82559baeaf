import { Database } from "bun:sqlite";
import {
  KIND_AT,
  KIND_LIST,
  KIND_NAMES,
  REQUEST_LIST,
  REQUEST_NAMES,
  type UsageBatch,
  type Value,
} from "./usage-columns.ts";
import { UsageKinds } from "./usage-kinds.ts";

/**
 * Rows of the statement that most rows go through. Each call from here takes as long as a row does, and with
 * more parameters SQLite itself takes longer for each (2026-11).
 */
const ROWS_AT_ONCE = 25;

const ADD_KIND = `INSERT INTO request_kinds (identity, used_day, ${KIND_LIST})
  VALUES (?, ?, ${places(KIND_NAMES)})
  ON CONFLICT (identity) DO UPDATE SET used_day = MAX(used_day, excluded.used_day)
  RETURNING id`;

type Statement = ReturnType<Database["prepare"]>;

/**
 * Adds rows of usage to a SQLite file, over a connection of its own with statements that are prepared once:
 * the client that all else goes through prepares each statement anew, which for a batch takes as long as
 * storing it.
 */
export class SqliteUsage {
  readonly #database: Database;
  readonly #addKind: Statement;
  readonly #many: Statement;
  readonly #one: Statement;
  readonly #kinds = new UsageKinds();

  /**
   * @param pragmas of the connection
   * @throws if there is no such file, or no such tables in it
   */
  constructor(file: string, pragmas: readonly string[]) {
    this.#database = new Database(file, { readwrite: true, create: false });
    try {
      for (const pragma of pragmas) this.#database.run(pragma);
      this.#addKind = this.#database.prepare(ADD_KIND);
      this.#many = this.#prepare(ROWS_AT_ONCE);
      this.#one = this.#prepare(1);
    } catch (thrown) {
      this.#database.close();
      throw thrown;
    }
  }

  /** In one transaction. Requests that are there are left. @param wall ms since the epoch */
  insert({ kinds, requests }: UsageBatch, wall: number): void {
    const database = this.#database;
    database.run("BEGIN IMMEDIATE");
    try {
      const day = this.#kinds.begin(wall, requests);
      const ids = this.#idsOf(kinds, day);
      const size = ROWS_AT_ONCE * REQUEST_NAMES.length;
      let at = 0;
      for (; at + size <= requests.length; at += size)
        this.#many.run(...withIds(requests.slice(at, at + size), ids));
      for (; at < requests.length; at += REQUEST_NAMES.length)
        this.#one.run(...withIds(requests.slice(at, at + REQUEST_NAMES.length), ids));
      database.run("COMMIT");
    } catch (thrown) {
      this.#kinds.forget();
      throw thrown;
    } finally {
      // A full disk may have ended it already.
      if (database.inTransaction) database.run("ROLLBACK");
    }
  }

  close(): void {
    for (const statement of [this.#addKind, this.#many, this.#one]) statement.finalize();
    this.#database.close();
  }

  #idsOf(kinds: readonly Value[][], day: number): number[] {
    return kinds.map((values) => {
      const found = this.#kinds.find(values);
      if (typeof found === "number") return found;
      const { id } = this.#addKind.get(found.identity, day, ...found.values) as { id: number };
      this.#kinds.learn(found, id);
      return id;
    });
  }

  #prepare(rows: number): Statement {
    const all = Array<string>(rows)
      .fill(`(${places(REQUEST_NAMES)})`)
      .join(",");
    return this.#database.prepare(
      `INSERT INTO requests (${REQUEST_LIST}) VALUES ${all} ON CONFLICT (id) DO NOTHING`,
    );
  }
}

function places(names: readonly string[]): string {
  return names.map(() => "?").join(",");
}

/** Puts the numbers of kinds in the place of their indexes. */
function withIds(values: Value[], ids: readonly number[]): Value[] {
  for (let at = KIND_AT; at < values.length; at += REQUEST_NAMES.length)
    values[at] = ids[values[at] as number] ?? null;
  return values;
}
