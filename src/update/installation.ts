import {
  chmodSync,
  chownSync,
  closeSync,
  copyFileSync,
  fsyncSync,
  linkSync,
  openSync,
  renameSync,
  rmSync,
  statSync,
  type Stats,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { errorCode, Problem } from "../base/errors.ts";
import { copyCapabilities } from "./capabilities.ts";
import { fileProblem } from "./file-problem.ts";

const IS_WINDOWS = process.platform === "win32";

/** The executable that is to be replaced. */
export interface Installation {
  /** Absolute, every link followed. */
  readonly path: string;
  readonly folder: string;
  /** Where the version before it is kept. */
  readonly previous: string;
  /** As it was found; another update may replace it meanwhile. */
  readonly found: Stats;
}

const KEPT = /\.previous(\.exe)?$/;

/**
 * What an executable belongs to.
 *
 * @param path of it, links followed
 * @param doing `rollback` may be asked of the one that is kept as well: the other may not run at all
 * @throws {Problem} if it is not there, or is the one that is kept
 */
export function findInstallation(path: string, doing: "update" | "rollback"): Installation {
  const folder = dirname(path);
  const name = basename(path).replace(KEPT, "$1");
  if (name !== basename(path)) {
    const beside = join(folder, name);
    if (doing === "rollback") return findInstallation(beside, doing);
    throw new Problem(`Cannot update "${path}": it is kept for update --rollback`, {
      action: `Run the one beside it: ${beside} update`,
    });
  }
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined)
    throw new Problem(`Cannot replace "${path}": it is not there`, {
      action: "Install modelrelay again with install.sh",
    });
  const previous = join(
    folder,
    name.endsWith(".exe") ? name.replace(/\.exe$/, ".previous.exe") : `${name}.previous`,
  );
  return { path, folder, previous, found };
}

function isSame(first: Stats, second: Stats | undefined): boolean {
  return first.ino === second?.ino && first.dev === second.dev && first.mtimeMs === second.mtimeMs;
}

/** Whether both are one file under two names. */
export function isOneFile(first: string, second: string): boolean {
  return isSame(statSync(first), statSync(second));
}

/** A second name for a file, or a copy where the file system knows no second names. */
export function linkOrCopy(from: string, to: string): void {
  try {
    linkSync(from, to);
  } catch (error) {
    if (errorCode(error) === "ENOSPC" || errorCode(error) === "ENOENT") throw error;
    copyFileSync(from, to);
    chmodSync(to, statSync(from).mode & 0o777);
  }
}

function sync(path: string): void {
  // A folder cannot be opened on Windows, and needs no such thing there.
  if (IS_WINDOWS) return;
  const file = openSync(path, "r");
  try {
    fsyncSync(file);
  } finally {
    closeSync(file);
  }
}

/** Gives the new executable the rights of the old one. @returns what could not be given, in words */
function prepare(fresh: string, { path, found }: Installation): string | undefined {
  chmodSync(fresh, found.mode & 0o777);
  const isRoot = process.getuid?.() === 0;
  if (isRoot && (found.uid !== 0 || found.gid !== 0)) chownSync(fresh, found.uid, found.gid);
  return copyCapabilities(path, fresh);
}

/**
 * Puts another executable in the place of the one that runs, and keeps that one. At every moment one of the
 * two stands there, whole.
 *
 * @param fresh in `work`, and on the same file system
 * @param work a folder for this alone
 * @returns something that whoever runs it has to know, or `undefined`
 * @throws {Problem} if it cannot be done; what was there is there
 */
export function replaceExecutable(
  fresh: string,
  installation: Installation,
  work: string,
): string | undefined {
  const { path, folder, previous, found } = installation;
  const kept = join(work, "previous");
  try {
    if (statSync(previous, { throwIfNoEntry: false })?.isDirectory() === true)
      throw new Problem(`Cannot keep the present version as "${previous}": a folder has that name`, {
        action: "Move that folder away",
      });
    const note = prepare(fresh, installation);
    sync(fresh);
    if (!isSame(found, statSync(path, { throwIfNoEntry: false })))
      throw new Problem(`Cannot replace "${path}": something else has replaced it meanwhile`, {
        action: "See what it is now with: modelrelay --version",
      });
    if (IS_WINDOWS) exchangeOnWindows(fresh, path, previous);
    else {
      linkOrCopy(path, kept);
      renameSync(fresh, path);
      renameSync(kept, previous);
    }
    sync(folder);
    return note;
  } catch (cause) {
    throw fileProblem(`Cannot replace "${path}"`, folder, cause);
  }
}

/** Windows lets nobody write over an executable that runs, but it can be given another name. */
function exchangeOnWindows(fresh: string, path: string, previous: string): void {
  rmSync(previous, { force: true });
  renameSync(path, previous);
  try {
    renameSync(fresh, path);
  } catch (error) {
    renameSync(previous, path);
    throw error;
  }
}
