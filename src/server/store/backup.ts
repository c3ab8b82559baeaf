import { closeSync, fsyncSync, linkSync, lstatSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { errorCode } from "../../base/errors.ts";
import { storeErrorOf } from "./failure.ts";
import type { Context } from "./operation.ts";
import { StoreError } from "./store-error.ts";

export interface BackupResult {
  file: string;
  bytes: number;
}

/**
 * Writes a copy of the database as it is at this moment, while others read and write it. The file appears
 * under its name when it is whole; only this user may read it.
 */
export async function backup({ sql, database }: Context, file: string): Promise<BackupResult> {
  if (database.dialect !== "sqlite") {
    throw new StoreError(
      "store_unsupported",
      `Cannot back up "${database.location}": PostgreSQL has a program of its own for that`,
      { action: `Write: pg_dump --format=custom --file=${shellWord(file)} "$DATABASE_URL"` },
    );
  }
  refuseExisting(file);
  const unfinished = join(dirname(file), `.${basename(file)}.${process.pid}.unfinished`);
  try {
    rmSync(unfinished, { force: true });
    // SQLite writes into an empty file that is there, and leaves its rights alone.
    closeSync(openSync(unfinished, "wx", 0o600));
    await sql`VACUUM INTO ${unfinished}`;
    sync(unfinished, "r+");
    giveName(unfinished, file);
    if (process.platform !== "win32") sync(dirname(file), "r");
    return { file, bytes: statSync(file).size };
  } catch (thrown) {
    rmSync(unfinished, { force: true });
    // What the disk of the copy says; the database itself was only read.
    throw storeErrorOf(thrown, database.dialect, file);
  }
}

function refuseExisting(file: string): void {
  if (!isThere(file)) return;
  throw new StoreError(
    "store_conflict",
    `Cannot write the backup to "${file}": there is such a file already`,
    {
      action: "Name another file, or move that one away",
    },
  );
}

/** A link that leads nowhere is something, too: it would be replaced. */
function isThere(path: string): boolean {
  try {
    lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** Fails if the name was taken meanwhile, where the file system can tell. */
function giveName(unfinished: string, file: string): void {
  try {
    linkSync(unfinished, file);
    rmSync(unfinished);
  } catch (thrown) {
    if (errorCode(thrown) === "EEXIST") refuseExisting(file);
    // No second names here (exFAT, some network shares).
    renameSync(unfinished, file);
  }
}

function sync(path: string, flags: "r" | "r+"): void {
  const handle = openSync(path, flags);
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

function shellWord(word: string): string {
  return /^[\w./:@%+-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
