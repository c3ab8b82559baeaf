import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { isAlive } from "../base/is-alive.ts";
import type { Log } from "../base/log.ts";

/** Where a running relay is, for commands on the same machine. */
export interface RelayFile {
  /** As a program on this machine reaches it. */
  url: string;
  pid: number;
  /** With which the relay proves that it has written this. */
  proofKey: string;
}

const NAME = "relay.json";
/** Several times what a relay writes. */
const MAX_LENGTH = 64 * 1024;

/**
 * Tells commands where this relay is, until `remove` is called. Only the user of the process can read it.
 * A relay that cannot write it runs all the same: commands then work on its database.
 */
export function writeRelayFile(dataDir: string, url: string, proofKey: string, log: Log): { remove(): void } {
  const path = join(dataDir, NAME);
  const content: RelayFile = { url, pid: process.pid, proofKey };
  const unfinished = `${path}.${process.pid}`;
  try {
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    rmSync(unfinished, { force: true });
    writeFileSync(unfinished, `${JSON.stringify(content)}\n`, { mode: 0o600, flag: "wx" });
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { force: true });
    log.warn("Commands on this machine cannot find the relay", { file: path, reason: messageOf(error) });
  }
  return {
    remove() {
      // Another relay may have been started in the same directory since.
      if (readRelayFile(dataDir)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}

/** @returns `undefined` if no relay runs here, as far as the file says and its process lives */
export function readRelayFile(dataDir: string): RelayFile | undefined {
  const path = join(dataDir, NAME);
  try {
    if (!isOfRelay(path, dataDir)) return undefined;
    const { url, pid, proofKey } = JSON.parse(readFileSync(path, "utf8")) as Partial<RelayFile>;
    if (typeof url !== "string" || typeof pid !== "number" || typeof proofKey !== "string") return undefined;
    return isAlive(pid) ? { url, pid, proofKey } : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Whether nobody else can have written the file, in a directory that is open to others: the admin token is
 * sent to where it says. Windows has no such owners; there the user's own directory protects it.
 */
function isOfRelay(path: string, dataDir: string): boolean {
  const file = statSync(path);
  // Reading a pipe would wait for whoever writes to it.
  if (!file.isFile() || file.size > MAX_LENGTH) return false;
  if (process.platform === "win32") return true;
  const { uid, mode } = file;
  const trusted = [0, process.getuid?.(), statSync(dataDir).uid];
  return trusted.includes(uid) && (mode & 0o002) === 0;
}
