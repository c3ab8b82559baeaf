import type { Clock } from "../../base/clock.ts";
import { unreachable } from "../../base/errors.ts";
import { orAborted, within, type Database, type DatabaseSettings } from "./database.ts";
import { storeErrorOf } from "./failure.ts";
import { OPERATIONS, type Operation, type OperationName } from "./operations.ts";
import { SCHEMA_VERSION } from "./migrations.ts";
import { PostgresDatabase } from "./postgres-database.ts";
import { migrate, schemaVersion } from "./schema.ts";
import { SqliteDatabase } from "./sqlite-database.ts";
import { checkDatabase, noteProbe } from "./store-check.ts";
import type { CallRequest } from "./store-messages.ts";
import { storableBatch } from "./usage-columns.ts";

/** Longest time for changing old tables; calls that wait for it end at their own time. */
const MIGRATION_LIMIT_MS = 10 * 60_000;

/** Does what the store asks for, with one database. Lives in the store's thread. */
export class DatabaseService {
  readonly #database: Database;
  readonly #settings: DatabaseSettings;
  readonly #clock: Clock;
  /** Settles with the version of the tables; absent until they were looked at, and after each trouble. */
  #prepared: Promise<number> | undefined;

  constructor(settings: DatabaseSettings, clock: Clock) {
    const { url } = settings;
    this.#settings = settings;
    this.#clock = clock;
    this.#database =
      url === undefined
        ? new SqliteDatabase(settings, { clock })
        : new PostgresDatabase(url, settings, { clock });
  }

  /** @throws {StoreError} */
  async call({ name, args, timeoutMs }: Omit<CallRequest, "id">): Promise<unknown> {
    const { location, dialect } = this.#database;
    try {
      return await this.#within(timeoutMs, (signal) => this.#dispatch(name, args, signal));
    } catch (thrown) {
      const error = storeErrorOf(thrown, dialect, location);
      // The server may come back as another one, with other tables.
      if (error.isOfDatabase) this.#prepared = undefined;
      throw error;
    }
  }

  async #dispatch(name: CallRequest["name"], args: unknown[], signal: AbortSignal): Promise<unknown> {
    const database = this.#database;
    if (isOperation(name)) {
      await this.#prepare(signal);
      // The types of the arguments were checked where the call was made.
      const operation = OPERATIONS[name] as unknown as Operation<unknown[], unknown>;
      return database.run(operation.access, (sql) => operation.run({ sql, database }, ...args), signal);
    }
    switch (name) {
      case "prepare":
        return this.#prepare(signal);
      case "probe": {
        const version = await this.#prepare(signal);
        await database.run("write", (sql) => noteProbe(sql, this.#clock), signal);
        return version;
      }
      case "insertUsage": {
        await this.#prepare(signal);
        // The types of the arguments were checked where the call was made.
        const batch = storableBatch(args[0] as string);
        return batch.requests.length === 0 ? undefined : database.insertUsage(batch, signal);
      }
      case "check":
        return checkDatabase(database, this.#clock, signal);
      case "close":
        return database.close();
      default:
        return unreachable(name);
    }
  }

  async #prepare(signal: AbortSignal): Promise<number> {
    const preparing = (this.#prepared ??= this.#prepareOnce());
    return orAborted(preparing, signal);
  }

  async #prepareOnce(): Promise<number> {
    const database = this.#database;
    try {
      const { timeoutMs, purpose } = this.#settings;
      const version = await this.#within(timeoutMs, (signal) =>
        database.run("read", (sql) => schemaVersion(database, sql), signal),
      );
      if (purpose === "inspect") return version;
      const made =
        version === SCHEMA_VERSION
          ? version
          : await this.#within(MIGRATION_LIMIT_MS, (signal) => migrate(database, this.#clock, signal));
      await this.#within(timeoutMs, (signal) => database.openUsage(signal));
      return made;
    } catch (thrown) {
      this.#prepared = undefined;
      throw thrown;
    }
  }

  #within<T>(limitMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    return within({ clock: this.#clock, location: this.#database.location }, limitMs, work);
  }
}

function isOperation(name: CallRequest["name"]): name is OperationName {
  return Object.hasOwn(OPERATIONS, name);
}
