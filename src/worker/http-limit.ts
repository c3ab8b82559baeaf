import { spawn } from "node:child_process";

/** More requests at once than a process has ports for. */
const LIMIT = "65535";
const VARIABLE = "BUN_CONFIG_MAX_HTTP_REQUESTS";
/** Set in the process that was started again, so that it never starts itself once more. */
const STARTED_AGAIN = "MODELRELAY_HTTP_LIMIT_SET";

/** Program and arguments that start this very process again. */
export function ownCommand(argv: readonly string[], execArgv: readonly string[], main: string): string[] {
  // In a compiled executable argv[1] is a path inside it, which is not to be given again.
  const compiled = /^(\/\$bunfs\/|[A-Za-z]:[\\/]~BUN[\\/])/.test(main);
  return compiled ? argv.slice(2) : [...execArgv, ...argv.slice(1)];
}

/**
 * Lets this process have more than 256 HTTP requests under way at once. The HTTP client reads its limit
 * from the environment when the process starts, and makes further requests wait without a word, so that
 * the process replaces itself by one with the right environment. Where it is set already, whatever it
 * is set to, nothing happens.
 *
 * Call it first of all: what was done before is lost. On Windows, which cannot replace a process, the
 * new one runs as a child, and the promise never resolves in the parent.
 */
export async function ensureHttpLimit(): Promise<void> {
  const { env } = process;
  if (env[VARIABLE] !== undefined || env[STARTED_AGAIN] !== undefined) return;
  const args = ownCommand(process.argv, process.execArgv, Bun.main);
  const environment = { ...env, [VARIABLE]: LIMIT, [STARTED_AGAIN]: "1" };
  if (process.platform !== "win32" && process.execve !== undefined) {
    process.execve(process.execPath, [process.execPath, ...args], environment);
  }
  const child = spawn(process.execPath, args, { env: environment, stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.on(signal, () => child.kill(signal));
  }
  const code = await new Promise<number>((resolve) => {
    child.on("error", () => resolve(1));
    child.on("exit", (status) => resolve(status ?? 1));
  });
  process.exit(code);
}
