import { isPostgresUrl } from "../server/store/address.ts";
import type { OptionSpec } from "./options.ts";
import { textKind } from "./value-kinds.ts";

/** Where keys and usage are, for every command that uses them. */
export const databaseUrlOption = {
  env: "DATABASE_URL",
  secret: true,
  hint: "URL",
  help: "PostgreSQL database for keys and usage",
  defaultText: "an SQLite database in the data directory",
  schema: textKind("an address such as postgres://user:password@host:5432/database", (text) => {
    const url = text.trim();
    return isPostgresUrl(url) ? url : undefined;
  }),
} as const satisfies OptionSpec;
