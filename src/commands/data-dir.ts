import { posix, win32 } from "node:path";
import type { Surroundings } from "./options.ts";

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
  if (root && env["INVOCATION_ID"]) return "/var/lib/modelrelay";
  if (platform === "darwin") return posix.join(home, "Library", "Application Support", "modelrelay");
  // A relative XDG_DATA_HOME is invalid and to be ignored (XDG Base Directory Specification).
  const dataHome = env["XDG_DATA_HOME"];
  return posix.join(dataHome?.startsWith("/") ? dataHome : posix.join(home, ".local", "share"), "modelrelay");
}
