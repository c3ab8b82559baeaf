import { existsSync } from "node:fs";
import { posix, win32 } from "node:path";
import type { Surroundings } from "./options.ts";

/** Of a service of the system. */
const SERVICE_DATA_DIR = "/var/lib/modelrelay";

/**
 * Where the relay keeps its state if it is not told: the directory that systemd made for it, else
 * `/var/lib/modelrelay` for a service of the superuser, else the platform's place for a user's data.
 */
export function defaultDataDir({ env, platform, home, root }: Surroundings): string {
  if (platform === "win32") {
    return win32.join(env["LOCALAPPDATA"] || win32.join(home, "AppData", "Local"), "modelrelay");
  }
  // systemd puts several directories of one unit behind another with colons (systemd.exec(5)).
  const stateDirectory = env["STATE_DIRECTORY"]?.split(":")[0];
  if (stateDirectory) return stateDirectory;
  if (root && env["INVOCATION_ID"]) return SERVICE_DATA_DIR;
  if (platform === "darwin") return posix.join(home, "Library", "Application Support", "modelrelay");
  // A relative XDG_DATA_HOME is invalid and to be ignored (XDG Base Directory Specification).
  const dataHome = env["XDG_DATA_HOME"];
  return posix.join(dataHome?.startsWith("/") ? dataHome : posix.join(home, ".local", "share"), "modelrelay");
}

/**
 * Where the relay of this machine keeps its state, for commands that look after one: the place of this user's
 * own relay, or the service's for who may look into it, whichever runs; else whichever has run.
 */
export function relayDataDir(around: Surroundings, service = SERVICE_DATA_DIR): string {
  const own = defaultDataDir(around);
  if (around.platform !== "linux") return own;
  for (const sign of ["relay.json", "modelrelay.db"]) {
    const found = [own, service].find((folder) => existsSync(posix.join(folder, sign)));
    if (found !== undefined) return found;
  }
  return own;
}
