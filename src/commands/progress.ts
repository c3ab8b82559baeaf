import type { Clock } from "../base/clock.ts";
import type { Log, LogFormat } from "../base/log.ts";
import { createProgress, drainParts, type Progress } from "../base/progress.ts";
import { statusLine } from "../base/status-line.ts";
import type { Terminal } from "./command.ts";

/** Progress needs a terminal that can go back to the beginning of a line. */
function isOnTerminal(env: Terminal["env"]): boolean {
  return process.stderr.isTTY && env["TERM"] !== "dumb";
}

/** Shows on the terminal how far some work is; where there is none, tells it in lines by `say`. */
export function startProgress(
  clock: Clock,
  { env }: Pick<Terminal, "env">,
  say: (text: string) => void,
): Progress {
  return createProgress(clock, isOnTerminal(env) ? statusLine : undefined, say);
}

/** How often what is left is counted. */
const LOOK_MS = 200;
/** What is done sooner needs no progress. */
const QUICK_MS = 1_000;

/** A log that keeps in mind what it has said last: the stage that some work is at. */
export interface StageLog extends Log {
  readonly stage: string | undefined;
  /** Says something that is no stage. */
  say(message: string): void;
}

export function createStageLog(log: Log): StageLog {
  let stage: string | undefined;
  return {
    ...log,
    info(message, fields) {
      stage = message;
      log.info(message, fields);
    },
    say: (message) => log.info(message),
    get stage() {
      return stage;
    },
  };
}

/** Waits for work, and tells meanwhile at which stage it is and how long it has taken. */
export async function showStages<T>(
  what: string,
  work: Promise<T>,
  { clock, log, env }: { clock: Clock; log: StageLog; env: Terminal["env"] },
): Promise<T> {
  const begun = clock.now();
  using progress = startProgress(clock, { env }, (text) => log.say(text));
  const look = (): void => {
    const seconds = Math.floor((clock.now() - begun) / 1_000);
    progress.show([`${what}: ${log.stage ?? "in progress"}`, `${seconds} s`]);
    timer = clock.after(LOOK_MS, look);
  };
  let timer = clock.after(QUICK_MS, look);
  try {
    return await work;
  } finally {
    timer.cancel();
  }
}

export interface Drain {
  clock: Clock;
  log: Log;
  /** Lines of JSON are for programs, even on a terminal. */
  logFormat: LogFormat;
  env: Terminal["env"];
  /** How many requests still run. */
  running: () => number;
  /** The time they have, in ms from now. */
  timeoutMs: number;
}

/** Waits for a drain, and tells meanwhile what is left of it. */
export async function showDrain(drained: Promise<void>, drain: Drain): Promise<void> {
  const { clock, log, logFormat, env, running, timeoutMs } = drain;
  const deadline = clock.now() + timeoutMs;
  const shownOn = logFormat === "json" ? { TERM: "dumb" } : env;
  using progress = startProgress(clock, { env: shownOn }, (text) => log.info(text));
  let begun = false;
  const look = (): void => {
    const requests = running();
    // Where nothing runs there is nothing to wait for.
    if (requests > 0 || begun) progress.show(drainParts(requests, deadline - clock.now()));
    begun ||= requests > 0;
    timer = clock.after(LOOK_MS, look);
  };
  let timer = clock.after(0, look);
  try {
    await drained;
  } finally {
    timer.cancel();
  }
}
