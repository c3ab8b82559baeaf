import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { messageOf, Problem } from "../base/errors.ts";

const FILE_NAME = "worker-secret";

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim() || undefined;
  } catch (thrown) {
    if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT") return undefined;
    throw thrown;
  }
}

/**
 * The secret of a relay that was given none: made at the first start (256 random bits), then the same
 * at every start. Only the user of the process can read the file (0600, directory 0700).
 *
 * @throws {Problem} if the directory cannot be used
 */
export function keepSecret(dataDir: string): { secret: string; path: string } {
  const path = join(dataDir, FILE_NAME);
  try {
    const known = readIfThere(path);
    if (known !== undefined) return { secret: known, path };
    const secret = randomBytes(32).toString("base64url");
    mkdirSync(dataDir, { recursive: true, mode: 0o700 });
    writeFileSync(path, `${secret}\n`, { mode: 0o600 });
    return { secret, path };
  } catch (cause) {
    throw new Problem(`Cannot keep the worker secret in "${path}": ${messageOf(cause)}`, {
      action:
        "Name a directory that can be written with --data-dir, or give the secret with --worker-secret-file",
      cause,
    });
  }
}
