import { existsSync } from "node:fs";
import { join } from "node:path";

/** The executable under test: `MODELRELAY_BINARY`, or what `bun run build` made. */
export function binaryPath(): string {
  const path = process.env["MODELRELAY_BINARY"] ?? join(import.meta.dir, "../../dist/modelrelay");
  if (!existsSync(path))
    throw new Error(`Cannot find the executable at ${path}: make it with "bun run build"`);
  return path;
}
