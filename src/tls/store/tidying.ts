import { join } from "node:path";
import { errorCode, messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { FILE_MODE, FOLDER_MODE, removeIfLeftover, type WriteTools } from "./atomic-file.ts";

/** Challenges are answered within minutes; a CA forgets them after a week (Let's Encrypt). */
const CHALLENGE_KEPT_MS = 7 * 86_400_000;

/**
 * Puts a store in order before it is used: rights that are too open, files that a killed process left
 * unfinished, answers to challenges of long ago. What cannot be done is told, and stops nothing: a store
 * that can only be read is of use too.
 */
export async function tidyStore(tools: WriteTools, log: Log, dir: string, challenges: string): Promise<void> {
  const { files, clock } = tools;
  const isForeign = async (path: string): Promise<boolean> => (await files.stat(path)).isForeignLink;
  const tidyFile = async (folder: string, file: string): Promise<void> => {
    const path = join(folder, file);
    if (await isForeign(path)) return;
    await removeIfLeftover(tools, path);
    if (/\.(pem|json)(\.|$)/.test(file)) await tighten(tools, log, path, FILE_MODE);
    if (folder !== challenges) return;
    if (clock.wall() - (await files.stat(path)).modifiedAt > CHALLENGE_KEPT_MS) await files.remove(path);
  };
  try {
    if ((await unlessGone(isForeign(dir))) === true) return warnOfLink(log, dir);
    await unlessGone(tighten(tools, log, dir, FOLDER_MODE));
    for (const name of (await unlessGone(files.list(dir))) ?? []) {
      const path = join(dir, name);
      const found = await unlessGone(files.stat(path));
      if (found?.isForeignLink === true) {
        warnOfLink(log, path);
        continue;
      }
      if (!found?.isFolder) {
        await unlessGone(removeIfLeftover(tools, path));
        continue;
      }
      await tighten(tools, log, path, FOLDER_MODE);
      for (const file of await files.list(path)) await unlessGone(tidyFile(path, file));
    }
  } catch (thrown) {
    log.warn(`Cannot put "${dir}" in order: ${messageOf(thrown)}`);
  }
}

/** Taking rights away behind it would be done to files of whoever it leads to. */
function warnOfLink(log: Log, path: string): void {
  log.warn(`"${path}" is a link that another user made; what is behind it is left as it is`);
}

/** A store that is not there yet is in order; so is a file that another process just removed. */
async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return undefined;
    throw thrown;
  }
}

/** Windows has no such bits; there the user's own directory protects the files. */
async function tighten({ files }: WriteTools, log: Log, path: string, mode: number): Promise<void> {
  if (files.platform === "win32") return;
  const found = (await files.stat(path)).mode;
  if (found === mode) return;
  const isOpen = (found & ~mode) !== 0;
  try {
    await files.chmod(path, mode);
    if (isOpen) log.warn(`"${path}" was open to other users (${octal(found)}), now it is not`);
  } catch (thrown) {
    if (!isOpen) return;
    log.warn(`"${path}" is open to other users (${octal(found)}), and that cannot be changed`, {
      reason: messageOf(thrown),
    });
  }
}

const octal = (mode: number): string => mode.toString(8).padStart(4, "0");
