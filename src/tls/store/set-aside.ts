import { dirname } from "node:path";
import { errorCode } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import type { WriteTools } from "./atomic-file.ts";
import { fileProblem } from "./file-problem.ts";

/**
 * Renames a damaged file, so that the program goes on without it and nothing of it is lost. Where that is
 * not possible (a read-only disk), the file stays, and counts as absent all the same.
 *
 * @param what what is wrong, as in "is not JSON"
 */
export async function setAside(tools: WriteTools, log: Log, path: string, what: string): Promise<void> {
  const aside = asideName(tools, path, "broken");
  try {
    await tools.files.rename(path, aside);
    log.warn(`"${path}" ${what}, so it was renamed to "${aside}" and is done without`);
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return; // another process was faster
    log.warn(
      `"${path}" ${what}, and is done without. ${fileProblem("change", dirname(path), thrown).message}`,
    );
  }
}

/** `state.json` becomes `state.json.broken-20270131T120000Z`. */
export function asideName({ clock }: WriteTools, path: string, why: string): string {
  const time = new Date(clock.wall()).toISOString().replace(/[-:]|\.\d+/g, "");
  return `${path}.${why}-${time}`;
}
