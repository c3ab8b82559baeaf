import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isAlive } from "../../src/base/is-alive.ts";

/** Before the id of the process that made it. */
const PREFIX = "modelrelay-data-";

let root: string | undefined;
let count = 0;

/** A data directory for a relay that is started without one; gone when the next run begins. */
export function newDataDir(): string {
  if (root === undefined) {
    // A run of tests is told of its end by nothing, so that each removes what those before it have left.
    for (const name of readdirSync(tmpdir())) {
      const pid = Number(new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1]);
      if (pid > 0 && !isAlive(pid)) rmSync(join(tmpdir(), name), { recursive: true, force: true });
    }
    root = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
  }
  const dir = join(root, String(count++));
  mkdirSync(dir, { mode: 0o700 });
  return dir;
}
