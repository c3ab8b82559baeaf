import type { CheckResult } from "../base/check-result.ts";
import { databaseSteps, notOpened, type DatabaseStep } from "../doctor/database.ts";
import type { StoreCheck } from "../server/store/store-check.ts";
import { StoreError } from "../server/store/store-error.ts";
import { checkLine } from "./check-line.ts";
import { commandNode, type Command } from "./command.ts";
import { databaseOptions, inspectStore } from "./db-shared.ts";
import { EXIT } from "./failure.ts";
import { defineOptions } from "./options.ts";
import { jsonOption } from "./shared-options.ts";

const checkOptions = defineOptions({ json: jsonOption, ...databaseOptions });

export const checkCommand: Command<typeof checkOptions> = {
  name: "db check",
  summary: "Looks at the database of keys and usage: pages, tables, rows, whether it can be written",
  examples: [
    { line: "modelrelay db check", does: "While the relay runs or not; exit code 1 if anything is wrong" },
  ],
  options: checkOptions,
  file: "serve",
  async run({ json, ...config }, { terminal }) {
    let steps: CheckResult<DatabaseStep>[];
    let seen: StoreCheck | undefined;
    try {
      await using store = await inspectStore(config);
      seen = await store.check();
      steps = databaseSteps(seen);
    } catch (thrown) {
      if (!(thrown instanceof StoreError)) throw thrown;
      steps = [notOpened(thrown)];
    }
    if (json) await terminal.out(`${JSON.stringify(asJson(steps, seen), null, 2)}\n`);
    else for (const step of steps) await terminal.out(checkLine(step));
    return steps.some(({ ok }) => ok === false) ? EXIT.failed : 0;
  },
};

/** What `db check --json` prints; sizes in bytes, `null` where there is none. */
function asJson(steps: CheckResult<DatabaseStep>[], seen: StoreCheck | undefined): object {
  return {
    database: seen?.location ?? null,
    schema_version: seen?.schemaVersion ?? null,
    known_version: seen?.knownVersion ?? null,
    database_bytes: seen?.databaseBytes ?? null,
    journal_bytes: seen?.journalBytes ?? null,
    free_bytes: seen?.freeBytes ?? null,
    rows: seen?.rows ?? {},
    checks: steps.map(({ ok, ...rest }) => ({ ...rest, ok: ok ?? null })),
  };
}

export const checkNode = commandNode(checkCommand);
