import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { errorCode, messageOf, Problem } from "../base/errors.ts";

/** What a relay makes for itself when it is given none. */
const KEPT = {
  "worker-secret": { flag: "--worker-secret-file", make: () => randomBytes(32).toString("base64url") },
  "admin-token": { flag: "--admin-token-file", make: () => randomBytes(32).toString("base64url") },
  "api-key": { flag: "--api-key-file", make: () => `mr_live_${randomBytes(32).toString("base64url")}` },
} as const;

/** A secret in its file. */
export interface KeptSecret {
  secret: string;
  path: string;
  /** Every user of this machine can read or change the file. */
  isOpenToAll: boolean;
  /** It was made just now. */
  isNew: boolean;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim() || undefined;
  } catch (thrown) {
    if (errorCode(thrown) === "ENOENT") return undefined;
    throw thrown;
  }
}

/** Whole or not at all: half a secret, left by a full disk, would pass for one at the next start. */
function writeWhole(path: string, text: string): void {
  const unfinished = `${path}.${process.pid}`;
  try {
    // Never through a link that somebody planted where others may write.
    rmSync(unfinished, { force: true });
    writeFileSync(unfinished, text, { mode: 0o600, flush: true, flag: "wx" });
    renameSync(unfinished, path);
  } catch (thrown) {
    rmSync(unfinished, { force: true });
    throw thrown;
  }
}

/** Windows has no such bits; there the user's own directory protects the file. */
function isOpenToAll(path: string): boolean {
  return process.platform !== "win32" && (statSync(path).mode & 0o006) !== 0;
}

/**
 * A secret of a relay that was given none: made at the first start (256 random bits), then the same
 * at every start. Only the user of the process can read the file (0600, directory 0700).
 *
 * @throws {Problem} if the directory cannot be used, or holds what no worker can present
 */
export function keepSecret(dataDir: string, name: keyof typeof KEPT): KeptSecret {
  const { flag, make } = KEPT[name];
  const path = join(dataDir, name);
  try {
    const known = readIfThere(path);
    if (known === undefined) {
      const secret = make();
      mkdirSync(dataDir, { recursive: true, mode: 0o700 });
      writeWhole(path, `${secret}\n`);
      return { secret, path, isOpenToAll: false, isNew: true };
    }
    if (/\p{Cc}/u.test(known)) throw new Error("it holds more than one line, or control characters");
    return { secret: known, path, isOpenToAll: isOpenToAll(path), isNew: false };
  } catch (cause) {
    throw new Problem(`Cannot keep the ${name.replace("-", " ")} in "${path}": ${messageOf(cause)}`, {
      action: `Name a directory that can be written with --data-dir, or give it with ${flag}`,
      cause,
    });
  }
}
