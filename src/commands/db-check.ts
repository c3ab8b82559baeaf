import { formatBytes } from "../base/bytes.ts";
import type { CheckResult, Outcome } from "../base/check-result.ts";
import type { StoreCheck } from "../server/store/store-check.ts";
import { StoreError } from "../server/store/store-error.ts";
import { checkLine } from "./check-line.ts";
import { commandNode, type Command } from "./command.ts";
import { databaseOptions, inspectStore } from "./db-shared.ts";
import { EXIT } from "./failure.ts";
import { defineOptions } from "./options.ts";
import { jsonOption } from "./shared-options.ts";

const checkOptions = defineOptions({ json: jsonOption, ...databaseOptions });

/** Below that a busy relay fills the disk within a day. */
const LITTLE_SPACE_BYTES = 256 * 1024 * 1024;
const RESTORE = "Restore a backup, or look for what damages the disk first";

type Step = "database" | "tables" | "integrity" | "rows" | "writing" | "space";

function tables({ schemaVersion: version, knownVersion: known }: StoreCheck): Outcome {
  const target = `version ${version}`;
  if (version === known) return { target, ok: true, details: "as this modelrelay has them" };
  if (version < known) {
    const details = `this modelrelay has version ${known}, and makes it at the next start of serve`;
    return { target, ok: true, details };
  }
  return {
    target,
    ok: false,
    details: `this modelrelay knows them up to version ${known}`,
    action: "Install the modelrelay that was used last, or a newer one",
  };
}

function integrity({ findings }: StoreCheck): Outcome {
  if (findings === undefined)
    return { target: "", ok: undefined, details: "PostgreSQL has a program for that: pg_amcheck" };
  if (findings.length === 0) return { target: "", ok: true, details: "every page and index is sound" };
  return { target: "", ok: false, details: findings.join("; "), action: RESTORE };
}

function rows({ readable, rows: counts }: StoreCheck): Outcome {
  const told = Object.entries(counts).map(([table, count]) => `${table.replace("_", " ")} ${count}`);
  if (readable.ok) return { target: "", ok: true, details: told.join(", ") || "no tables yet" };
  return { target: "", ok: false, details: readable.why, action: readable.action ?? RESTORE };
}

function writing({ writable }: StoreCheck): Outcome {
  if (writable.ok) return { target: "", ok: true, details: `took ${writable.tookMs} ms` };
  const { why, action } = writable;
  return { target: "", ok: false, details: why, ...(action !== undefined && { action }) };
}

function space({ freeBytes }: StoreCheck): Outcome {
  if (freeBytes === undefined)
    return { target: "", ok: undefined, details: "of the server's disk only the server knows" };
  const details = `${formatBytes(freeBytes)} free on the disk`;
  if (freeBytes >= LITTLE_SPACE_BYTES) return { target: "", ok: true, details };
  return { target: "", ok: false, details, action: "Free space, before usage can no longer be stored" };
}

function size({ databaseBytes, journalBytes }: StoreCheck): string {
  const journal = journalBytes === undefined ? "" : `, ${formatBytes(journalBytes)} of changes beside it`;
  return `${databaseBytes === undefined ? "?" : formatBytes(databaseBytes)}${journal}`;
}

function stepsOf(seen: StoreCheck): CheckResult<Step>[] {
  return [
    { step: "database", target: seen.location, ok: true, details: size(seen) },
    { step: "tables", ...tables(seen) },
    { step: "integrity", ...integrity(seen) },
    { step: "rows", ...rows(seen) },
    { step: "writing", ...writing(seen) },
    { step: "space", ...space(seen) },
  ];
}

/** A database that cannot be opened at all is what the check is for, too. */
function notOpened({ message, action }: StoreError): CheckResult<Step>[] {
  return [
    { step: "database", target: "", ok: false, details: message, ...(action !== undefined && { action }) },
  ];
}

export const checkCommand: Command<typeof checkOptions> = {
  name: "db check",
  summary: "Looks at the database of keys and usage: pages, tables, rows, whether it can be written",
  examples: [
    { line: "modelrelay db check", does: "While the relay runs or not; exit code 1 if anything is wrong" },
  ],
  options: checkOptions,
  file: "serve",
  async run({ json, ...config }, { terminal }) {
    let steps: CheckResult<Step>[];
    let seen: StoreCheck | undefined;
    try {
      await using store = await inspectStore(config);
      seen = await store.check();
      steps = stepsOf(seen);
    } catch (thrown) {
      if (!(thrown instanceof StoreError)) throw thrown;
      steps = notOpened(thrown);
    }
    if (json) await terminal.out(`${JSON.stringify(asJson(steps, seen), null, 2)}\n`);
    else for (const step of steps) await terminal.out(checkLine(step));
    return steps.some(({ ok }) => ok === false) ? EXIT.failed : 0;
  },
};

/** What `db check --json` prints; sizes in bytes, `null` where there is none. */
function asJson(steps: CheckResult<Step>[], seen: StoreCheck | undefined): object {
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
