import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { platform } from "node:process";

// `Bun.serve` tells neither its descriptor nor how many connections it has; Linux tells both in /proc.

/** The `st` column of /proc/net/tcp. */
const LISTENING = "0A";
const ESTABLISHED = "01";

/** File descriptors of this process that listen on a TCP port. */
export function listeningSockets(port: number): number[] {
  return socketsOn(port, LISTENING);
}

/** Connections to a TCP port that this process holds; `undefined` where nobody can tell. */
export function connectionsOn(port: number): number | undefined {
  if (platform !== "linux") return undefined;
  try {
    return socketsOn(port, ESTABLISHED).length;
  } catch {
    return undefined;
  }
}

function socketsOn(port: number, wanted: string): number[] {
  const suffix = `:${port.toString(16).toUpperCase().padStart(4, "0")}`;
  const inodes = new Set<string>();
  for (const table of ["/proc/self/net/tcp", "/proc/self/net/tcp6"]) {
    for (const line of readTable(table)) {
      const [, local, , state, , , , , , inode] = line.trim().split(/\s+/);
      if (state === wanted && local?.endsWith(suffix) === true && inode !== undefined) inodes.add(inode);
    }
  }
  return readdirSync("/proc/self/fd")
    .map(Number)
    .filter((descriptor) => inodes.has(socketInode(descriptor) ?? ""));
}

/** A machine without IPv6 has no table of it. */
function readTable(path: string): string[] {
  try {
    return readFileSync(path, "utf8").split("\n").slice(1);
  } catch {
    return [];
  }
}

function socketInode(descriptor: number): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1];
  } catch {
    return undefined; // Closed meanwhile, as the one that lists the folder is.
  }
}
