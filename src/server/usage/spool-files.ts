import { readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { errorCode, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { UsageSpool } from "./usage-spool.ts";

/** Of rows that wait for the database, in the data directory. */
export const SPOOL_FILE = "usage-spool.jsonl";

/** What a file is called while its rows go to another: whoever still writes begins a new one. */
const PASSING = ".passing";

/**
 * The file of one process, since two of them must not write to the same.
 *
 * @param generation 0 for one that took nobody's place
 */
export function spoolFile(dataDir: string, generation: number): string {
  return join(dataDir, generation === 0 ? SPOOL_FILE : `usage-spool-${generation}.jsonl`);
}

/** Files that processes have left which took another's place. */
export function leftSpools(dataDir: string): string[] {
  try {
    return readdirSync(dataDir)
      .filter((name) => /^usage-spool-\d+\.jsonl(\.passing)?$|^usage-spool\.jsonl\.passing$/.test(name))
      .map((name) => join(dataDir, name));
  } catch {
    return []; // No directory yet.
  }
}

/**
 * Moves the rows of another process's file to where `take` puts them. A row whose move was cut short is there
 * twice, and stored once: it has one id. Never rejects.
 */
export async function passSpool(
  path: string,
  take: (spool: UsageSpool) => Promise<void>,
  log: Log,
): Promise<void> {
  const passing = path.endsWith(PASSING) ? path : path + PASSING;
  try {
    if (passing !== path) renameSync(path, passing);
    await take(new UsageSpool(passing));
    rmSync(passing, { force: true });
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return;
    log.warn("Usage that another process left cannot be taken over", {
      file: passing,
      reason: messageOf(thrown),
    });
  }
}
