import type { Clock } from "../base/clock.ts";
import { errorCode, messageOf, Problem } from "../base/errors.ts";
import { oneLine } from "../base/one-line.ts";

/** It takes 0.1 s; a machine may be busy. */
const LIMIT_MS = 30_000;

/** Variables that the runtime inside the executable would obey. */
const OBEYED = /^BUN_/;

interface Ran {
  /** `undefined`: it was not ended by itself. */
  code: number | undefined;
  signal: NodeJS.Signals | undefined;
  said: string;
}

async function run(path: string, clock: Clock, env: Record<string, string | undefined>): Promise<Ran> {
  const kept = Object.fromEntries(Object.entries(env).filter(([name]) => !OBEYED.test(name)));
  const child = Bun.spawn([path, "--version"], {
    env: kept,
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const limit = clock.after(LIMIT_MS, () => child.kill("SIGKILL"));
  try {
    const [out, err] = await Promise.all([child.stdout.text(), child.stderr.text()]);
    await child.exited;
    return {
      code: child.exitCode ?? undefined,
      signal: (child.signalCode as NodeJS.Signals | null) ?? undefined,
      said: `${out}${err}`,
    };
  } finally {
    limit.cancel();
  }
}

function adviceFor(cause: unknown, ran: Ran | undefined, platform: string): string {
  if (errorCode(cause) === "EACCES")
    return "Is it on a disk that is mounted with noexec? Then install it elsewhere: install.sh --prefix DIR";
  if (ran?.signal === "SIGILL")
    return "The processor lacks instructions that it needs; install.sh finds the build for it";
  if (platform.endsWith("-musl")) return "On Alpine it needs a package: apk add libstdc++";
  return "This system may be too old for it; what was there is unchanged";
}

/**
 * Runs an executable as far as it takes to hear its version.
 *
 * @param env of this process
 * @throws {Problem} if it does not run here, or is none of ours
 */
export async function versionOf(
  path: string,
  { clock, env, platform }: { clock: Clock; env: Record<string, string | undefined>; platform: string },
): Promise<string> {
  let ran: Ran | undefined;
  let cause: unknown;
  try {
    ran = await run(path, clock, env);
  } catch (error) {
    cause = error;
  }
  const version = /^modelrelay (\S+) \(/.exec(ran?.said ?? "")?.[1];
  if (ran?.code === 0 && version !== undefined) return version;
  const ended = ran?.signal === undefined ? `exit code ${ran?.code ?? "unknown"}` : `signal ${ran.signal}`;
  const why =
    ran === undefined
      ? messageOf(cause)
      : `${ended}${ran.said.trim() === "" ? "" : `, "${oneLine(ran.said.trim())}"`}`;
  throw new Problem(`Cannot run "${path}" here: ${why}`, {
    action: adviceFor(cause, ran, platform),
    cause,
  });
}
