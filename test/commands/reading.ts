import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { UsageError } from "../../src/base/errors.ts";
import type { OptionTable, Surroundings } from "../../src/commands/options.ts";
import { readConfig, type Reading } from "../../src/commands/read-config.ts";

export type Env = Record<string, string>;

export function surroundings(env: Env = {}): Surroundings {
  return { env, platform: "linux", home: "/home/ada", hostname: "gpu-box", root: false };
}

/** Reads a command's settings as if typed after its name. */
export function reader<T extends OptionTable>(command: string, table: T) {
  return (args: readonly string[], env: Env = {}): Reading<T> =>
    readConfig(command, table, { args, around: surroundings(env) });
}

/** The two lines that a mistake is told in; fails if there is none. */
export function mistake(action: () => unknown): { message: string; action: string | undefined } {
  try {
    action();
  } catch (thrown) {
    if (thrown instanceof UsageError) return { message: thrown.message, action: thrown.action };
    throw thrown;
  }
  throw new Error("Expected a UsageError, nothing was thrown");
}

/** A directory that is gone after the test. */
export class TempDir implements Disposable {
  readonly path = mkdtempSync(join(tmpdir(), "modelrelay-"));

  write(name: string, text: string): string {
    const path = join(this.path, name);
    writeFileSync(path, text);
    return path;
  }

  [Symbol.dispose](): void {
    rmSync(this.path, { recursive: true });
  }
}
