import type { SQL } from "bun";
import type { Database } from "./database.ts";

/** What an operation works with. */
export interface Context {
  /** Within the operation's transaction, where it has one. */
  sql: SQL;
  database: Pick<Database, "dialect" | "location">;
}
