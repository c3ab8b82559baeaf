import { formatBytes } from "../base/bytes.ts";
import type { CheckResult, Outcome } from "../base/check-result.ts";
import type { StoreCheck } from "../server/store/store-check.ts";
import type { StoreError } from "../server/store/store-error.ts";
import { LITTLE_SPACE_BYTES } from "./disk.ts";

export type DatabaseStep = "database" | "tables" | "integrity" | "rows" | "writing" | "space";

const RESTORE = "Restore a backup, or look for what damages the disk first";

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

/** What was seen of a database, step by step. */
export function databaseSteps(seen: StoreCheck): CheckResult<DatabaseStep>[] {
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
export function notOpened({ message, action }: StoreError): CheckResult<"database"> {
  return {
    step: "database",
    target: "",
    ok: false,
    details: message,
    ...(action !== undefined && { action }),
  };
}
