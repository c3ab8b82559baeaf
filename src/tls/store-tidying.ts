import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { FILE_MODE, FOLDER_MODE, removeLeftovers, type WriteTools } from "./atomic-file.ts";
import { errorCode } from "./file-operations.ts";

/** Challenges are answered within minutes; a CA forgets them after a week (Let's Encrypt). */
const CHALLENGE_KEPT_MS = 7 * 86_400_000;

/**
 * Puts a store in order before it is used: rights that are too open, files that a killed process left
 * unfinished, answers to challenges of long ago. What cannot be done is told, and stops nothing: a store
 * that can only be read is of use too.
 */
export async function tidyStore(tools: WriteTools, log: Log, dir: string, challenges: string): Promise<void> {
  const { files, clock } = tools;
  try {
    const folders = (await files.list(dir)).map((name) => join(dir, name));
    await tighten(tools, log, dir, FOLDER_MODE);
    for (const folder of folders) {
      if (!(await files.stat(folder)).isFolder) continue;
      await tighten(tools, log, folder, FOLDER_MODE);
      const names = await files.list(folder);
      await removeLeftovers(tools, folder, names);
      for (const name of await files.list(folder)) {
        const path = join(folder, name);
        if (/\.(pem|json)(\.|$)/.test(name)) await tighten(tools, log, path, FILE_MODE);
        if (folder !== challenges) continue;
        if (clock.wall() - (await files.stat(path)).modifiedAt > CHALLENGE_KEPT_MS) await files.remove(path);
      }
    }
    await removeLeftovers(tools, dir, await files.list(dir));
  } catch (thrown) {
    // A store that is not there yet is in order; so is a file that another process just removed.
    if (errorCode(thrown) === "ENOENT") return;
    log.warn(`Cannot put "${dir}" in order: ${messageOf(thrown)}`);
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
