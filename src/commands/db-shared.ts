import { systemClock } from "../base/clock.ts";
import { openStore, type Store } from "../server/store/store.ts";
import { databaseUrlOption } from "./database-options.ts";
import { defineOptions, type Config } from "./options.ts";
import { configOption, relayDataDirOption } from "./shared-options.ts";

/** What every command on the database of a relay takes. */
export const databaseOptions = defineOptions({
  dataDir: relayDataDirOption,
  databaseUrl: databaseUrlOption,
  config: { ...configOption("serve"), help: "TOML file whose table [serve] gives the same settings" },
});

/** Opens the database as it is, beside a relay that may be using it. @throws {StoreError} */
export async function inspectStore({
  dataDir,
  databaseUrl: url,
}: Config<typeof databaseOptions>): Promise<Store> {
  // Without a log: what is wrong ends the command, which says it.
  return openStore({ dataDir, url, purpose: "inspect" }, { clock: systemClock });
}
