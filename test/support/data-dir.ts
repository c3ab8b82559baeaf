import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

let root: string | undefined;
let count = 0;

/** A data directory for a relay that is started without one; gone at the end of the run. */
export function newDataDir(): string {
  if (root === undefined) {
    const made = mkdtempSync(join(tmpdir(), "modelrelay-data-"));
    root = made;
    process.on("exit", () => rmSync(made, { recursive: true, force: true }));
  }
  const dir = join(root, String(count++));
  mkdirSync(dir, { mode: 0o700 });
  return dir;
}
