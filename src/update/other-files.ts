import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname, join, relative } from "node:path";
import { messageOf } from "../base/errors.ts";

/** What of an archive stands beside the licence in an installation. */
const ABOUT = ["LICENSE", "README.md", "systemd"];

function filesBelow(folder: string): string[] {
  if (!existsSync(folder)) return [];
  if (!statSync(folder).isDirectory()) return [folder];
  return readdirSync(folder).flatMap((name) => filesBelow(join(folder, name)));
}

/** Makes a folder and its parents, which everybody may enter, whatever umask there is. @returns those that were not there, the outermost first */
function makeFolder(path: string): string[] {
  if (existsSync(path)) return [];
  const made = makeFolder(dirname(path));
  mkdirSync(path);
  chmodSync(path, 0o755);
  return [...made, path];
}

/**
 * Renews the manual, what shells complete, the licence and the units where install.sh has put them; an
 * executable that somebody placed alone stays alone.
 *
 * @param unpacked the folder of the archive
 * @returns why it could not be done; the executable works without
 */
export function placeOtherFiles(unpacked: string, executable: string): string | undefined {
  const bin = dirname(executable);
  const share = join(dirname(bin), "share");
  const about = join(share, "doc", "modelrelay");
  const list = join(about, "made-folders");
  if (basename(bin) !== "bin" || !existsSync(list)) return undefined;
  const moves = [
    ...filesBelow(join(unpacked, "share")).map((from) => [
      from,
      join(share, relative(join(unpacked, "share"), from)),
    ]),
    ...ABOUT.flatMap((name) => filesBelow(join(unpacked, name))).map((from) => [
      from,
      join(about, relative(unpacked, from)),
    ]),
  ] as [from: string, to: string][];
  try {
    const made: string[] = [];
    for (const [from, to] of moves) {
      made.push(...makeFolder(dirname(to)));
      chmodSync(from, 0o644);
      renameSync(from, to);
    }
    // Uninstalling removes what installing has made.
    if (made.length > 0) writeFileSync(list, `${readFileSync(list, "utf8")}${made.join("\n")}\n`);
    return undefined;
  } catch (error) {
    return `The manual and completions are still those of the version before: ${messageOf(error)}`;
  }
}
