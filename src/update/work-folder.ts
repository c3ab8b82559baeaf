import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { isAlive } from "../base/is-alive.ts";
import { fileProblem } from "./file-problem.ts";

/** As install.sh calls it too; the number of the process that works there follows. */
const PREFIX = ".modelrelay-install.";

export interface WorkFolder extends Disposable {
  readonly path: string;
}

/** Removes what processes that are gone have left. */
function removeRubbish(folder: string): void {
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(PREFIX)) continue;
    const pid = Number(name.slice(PREFIX.length));
    if (pid === process.pid || !(pid > 0) || !isAlive(pid))
      rmSync(join(folder, name), { recursive: true, force: true });
  }
}

/**
 * A folder beside the executable, so that what is complete there can be renamed into its place.
 *
 * @throws {Problem} if nothing may be written there
 */
export function openWorkFolder(folder: string): WorkFolder {
  const path = join(folder, `${PREFIX}${process.pid}`);
  try {
    removeRubbish(folder);
    mkdirSync(path, { mode: 0o700 });
  } catch (cause) {
    throw fileProblem(`Cannot update what is in ${folder}`, folder, cause);
  }
  return { path, [Symbol.dispose]: () => rmSync(path, { recursive: true, force: true }) };
}
