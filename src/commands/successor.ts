import { isCompiled } from "../base/build-info.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import {
  kindOf,
  SUCCESSOR_ENV,
  type FromSuccessor,
  type HeritageMessage,
  type ToSuccessor,
} from "./handover-messages.ts";

/** The process that has taken the place of this one. */
export interface Successor {
  readonly pid: number;
  /** Nothing listens here any more. */
  released(): void;
}

export interface SuccessorParts {
  clock: Clock;
  /** What it has to know. */
  heritage: Omit<HeritageMessage, "kind">;
  /** Gives it up while it starts. */
  signal: AbortSignal;
  /** How it is started; as this one was unless given. */
  command?: string[];
  /**
   * It has ended after it had taken over, as long as this process is there to see it.
   *
   * @param isWell as a process ends that was told to, or that has handed over itself
   */
  ended: (how: string, isWell: boolean) => void;
}

/** Time to open the database and the ports. */
const READY_MS = 30_000;

/**
 * Where this process was started from. To be looked at now: the runtime asks the system at the first use, which
 * tells where the file is by then, and that it is deleted once another lies in its place.
 */
export const EXECUTABLE = process.execPath;

/**
 * Starts the executable that lies where this one was started from, with the same arguments and environment,
 * and waits until everything new goes to it.
 *
 * @throws {Problem} if it does not come that far; it has been ended then
 */
export async function startSuccessor(parts: SuccessorParts): Promise<Successor> {
  try {
    return await start(parts);
  } catch (cause) {
    throw new Problem(`Cannot hand over to another process: ${messageOf(cause)}`, {
      action: "This one goes on as if nothing had happened; what the other one said stands above",
      cause,
    });
  }
}

async function start(parts: SuccessorParts): Promise<Successor> {
  const { clock, heritage, signal, command = ownCommand() } = parts;
  const stopping = (): Error => new Error("this one is to stop");
  if (signal.aborted) throw stopping();
  const ready = Promise.withResolvers<void>();
  let isReady = false;
  const child = Bun.spawn(command, {
    env: { ...process.env, [SUCCESSOR_ENV]: "1" },
    stdin: "ignore",
    stdout: "inherit",
    stderr: "inherit",
    serialization: "json",
    ipc(message: FromSuccessor) {
      const kind = kindOf(message);
      if (kind === "hello") tell({ kind: "heritage", ...heritage });
      else if (kind === "ready") ready.resolve();
    },
    onExit(_, code, signalCode) {
      const how = code === null ? `was ended by signal ${signalCode ?? "?"}` : `ended with exit code ${code}`;
      if (isReady) parts.ended(how, code === 0);
      else ready.reject(new Error(`it ${how} before it served`));
    },
  });
  const tell = (message: ToSuccessor): void => {
    try {
      child.send(message);
    } catch {
      // It has ended, which `onExit` tells.
    }
  };
  const abandon = (): void => ready.reject(stopping());
  const late = (): void => ready.reject(new Error(`it did not serve within ${READY_MS / 1_000} s`));
  const limit = clock.after(READY_MS, late);
  signal.addEventListener("abort", abandon);
  try {
    await ready.promise;
    isReady = true;
  } catch (error) {
    child.kill("SIGKILL");
    await child.exited;
    throw error;
  } finally {
    limit.cancel();
    signal.removeEventListener("abort", abandon);
  }
  return { pid: child.pid, released: () => tell({ kind: "released" }) };
}

/** How this process was started. An executable has its script inside, and names that by no real path. */
function ownCommand(): string[] {
  const [, script = "", ...args] = process.argv;
  return isCompiled ? [EXECUTABLE, ...args] : [EXECUTABLE, script, ...args];
}
