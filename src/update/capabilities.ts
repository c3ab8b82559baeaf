import { spawnSync } from "node:child_process";

/** Where the tools of root are, which others often have not on their own path. */
const PATH = "/usr/sbin:/sbin:/usr/bin:/bin:/usr/local/sbin";

/** What `setcap` gave a file, such as `cap_net_bind_service=ep`; `undefined` if nothing, or where nobody can tell. */
function capabilitiesOf(path: string): string | undefined {
  const getcap = Bun.which("getcap", { PATH });
  if (getcap === null) return undefined;
  const { stdout } = spawnSync(getcap, [path], { encoding: "utf8" });
  // Older ones write `path = caps`, newer ones `path caps`.
  return /\s(cap_\S+)\s*$/.exec(stdout)?.[1];
}

/**
 * A new file has none of the capabilities of the one that it replaces, with which a relay opens port 443.
 *
 * @returns what to do where they cannot be given
 */
export function copyCapabilities(from: string, to: string): string | undefined {
  const capabilities = process.platform === "linux" ? capabilitiesOf(from) : undefined;
  if (capabilities === undefined) return undefined;
  const setcap = Bun.which("setcap", { PATH });
  if (setcap !== null && spawnSync(setcap, [capabilities, to]).status === 0) return undefined;
  return `Low ports need this once more: sudo setcap ${capabilities} ${from}`;
}
