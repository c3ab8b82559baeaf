import { randomBytes } from "node:crypto";
import { dirname, join } from "node:path";
import { errorCode } from "../../base/errors.ts";
import type { Clock } from "../../base/clock.ts";
import { wait } from "../../base/wait.ts";
import type { FileOperations } from "./file-operations.ts";
import { fileProblem } from "./file-problem.ts";
import { hasEnded, type ProcessIdentity } from "./process-identity.ts";

export const FILE_MODE = 0o600;
export const FOLDER_MODE = 0o700;

/** What writing a file takes. */
export interface WriteTools {
  files: FileOperations;
  clock: Clock;
  /** Stands in the name of unfinished files. */
  owner: ProcessIdentity;
}

/**
 * Puts a text in place of a file's, whole or not at all, whenever the process or the machine ends. The
 * folder is made if need be. Only this user can read the file, whatever the umask says.
 *
 * @throws {Problem}
 */
export async function writeWhole(tools: WriteTools, path: string, text: string): Promise<void> {
  await write(tools, path, text, (unfinished) => renameOver(tools, unfinished, path));
}

/**
 * As {@link writeWhole}, but never over a file that is there already.
 *
 * @returns whether the file was written
 * @throws {Problem}
 */
export async function writeNew(tools: WriteTools, path: string, text: string): Promise<boolean> {
  let isNew = true;
  await write(tools, path, text, async (unfinished) => {
    try {
      await tools.files.link(unfinished, path);
    } catch (thrown) {
      if (errorCode(thrown) === "EEXIST") isNew = false;
      else if (await exists(tools.files, path)) isNew = false;
      // File systems without second names (FAT, some network shares) say so in many ways.
      else return await renameOver(tools, unfinished, path);
    }
    await tools.files.remove(unfinished);
  });
  return isNew;
}

async function write(
  tools: WriteTools,
  path: string,
  text: string,
  putInPlace: (unfinished: string) => Promise<void>,
): Promise<void> {
  const { files } = tools;
  const folder = dirname(path);
  await ensureFolder(files, folder);
  const unfinished = unfinishedName(path, tools.owner);
  try {
    await writeUnfinished(files, unfinished, text);
    await putInPlace(unfinished);
    await syncFolder(files, folder);
  } catch (cause) {
    await files.remove(unfinished).catch(() => {});
    throw fileProblem("write", path, cause);
  }
}

/**
 * Proves that a folder takes a file of this many bytes, and leaves none there.
 *
 * @throws {Problem}
 */
export async function proveWritable(tools: WriteTools, folder: string, bytes: number): Promise<void> {
  const { files } = tools;
  await ensureFolder(files, folder);
  const probe = unfinishedName(join(folder, "probe"), tools.owner);
  try {
    // Random, because a file system that compresses has room for many zeros.
    await writeUnfinished(files, probe, randomBytes(bytes / 2).toString("hex"));
    await files.remove(probe);
  } catch (cause) {
    await files.remove(probe).catch(() => {});
    throw fileProblem("write", folder, cause);
  }
}

async function writeUnfinished(files: FileOperations, path: string, text: string): Promise<void> {
  const file = await files.createFile(path, FILE_MODE);
  try {
    // A umask of 0777 would leave a file that its own user cannot read.
    if (files.platform !== "win32") await file.chmod(FILE_MODE);
    await file.write(Buffer.from(text));
    await file.sync();
  } finally {
    await file.close();
  }
}

const RENAME_TRIES = 10;
const RENAME_PAUSE_MS = 50;

/** Windows refuses to replace a file while somebody, a virus scanner often, has it open. */
async function renameOver({ files, clock }: WriteTools, from: string, to: string): Promise<void> {
  for (let left = RENAME_TRIES; ; left--) {
    try {
      return await files.rename(from, to);
    } catch (thrown) {
      const isBusy = ["EPERM", "EACCES", "EBUSY"].includes(errorCode(thrown) ?? "");
      if (files.platform !== "win32" || !isBusy || left <= 1) throw thrown;
    }
    await wait(clock, RENAME_PAUSE_MS);
  }
}

/** Some file systems, and Windows, cannot do this for a folder; what was renamed is in place all the same. */
async function syncFolder(files: FileOperations, folder: string): Promise<void> {
  if (files.platform === "win32") return;
  try {
    await files.syncFolder(folder);
  } catch (thrown) {
    const cannot = ["EINVAL", "ENOTSUP", "EOPNOTSUPP", "EISDIR", "EACCES", "EPERM", "EBADF", "ENOSYS"];
    if (!cannot.includes(errorCode(thrown) ?? "")) throw thrown;
  }
}

/** Makes a folder and those above it, for this user alone. @throws {Problem} */
export async function ensureFolder(files: FileOperations, path: string): Promise<void> {
  try {
    if (await isFolder(files, path)) return;
    const parent = dirname(path);
    if (parent !== path) await ensureFolder(files, parent);
    try {
      await files.makeFolder(path, FOLDER_MODE);
    } catch (thrown) {
      // Another process may have made it just now.
      if (errorCode(thrown) === "EEXIST" && (await isFolder(files, path))) return;
      throw thrown;
    }
    if (files.platform !== "win32") await files.chmod(path, FOLDER_MODE);
    await syncFolder(files, parent);
  } catch (cause) {
    throw fileProblem("write", path, cause);
  }
}

async function isFolder(files: FileOperations, path: string): Promise<boolean> {
  try {
    const found = await files.stat(path);
    if (found.isFolder) return true;
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
  throw Object.assign(new Error("it is no folder"), { code: "ENOTDIR" });
}

async function exists(files: FileOperations, path: string): Promise<boolean> {
  try {
    await files.stat(path);
    return true;
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return false;
    throw thrown;
  }
}

/** `undefined` if there is no such file. @throws {Problem} */
export async function readIfThere(files: FileOperations, path: string): Promise<string | undefined> {
  try {
    return await files.readFile(path);
  } catch (cause) {
    if (errorCode(cause) === "ENOENT") return undefined;
    throw fileProblem("read", path, cause);
  }
}

function unfinishedName(path: string, { host, pid }: ProcessIdentity): string {
  // The name is cut so that a long one has room for the rest (255 bytes on most file systems).
  return `${path.slice(0, dirname(path).length + 100)}.${host}-${pid}-${randomBytes(4).toString("hex")}.tmp`;
}

const UNFINISHED = /\.([0-9a-f]{8})-(\d+)-[0-9a-f]{8}\.tmp$/;
/** Whoever writes for this long does not write any more. */
const ABANDONED_AFTER_MS = 86_400_000;

/**
 * Removes an unfinished file that nobody finishes: of a process that has ended, or of any, on other hosts
 * too, once it is a day old. Any other file stays.
 */
export async function removeIfLeftover(tools: WriteTools, path: string): Promise<void> {
  const [, host, pid] = UNFINISHED.exec(path) ?? [];
  if (host === undefined) return;
  const { modifiedAt } = await tools.files.stat(path);
  const isOld = tools.clock.wall() - modifiedAt > ABANDONED_AFTER_MS;
  if (isOld || hasEnded({ host, pid: Number(pid) }, tools.owner)) await tools.files.remove(path);
}
