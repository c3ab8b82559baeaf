import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";

/**
 * A long-running command serves many at once: an error that escaped from one of them is a bug to be
 * reported, and no reason to cut off all the others.
 */
export function reportStrayErrors(log: Log): void {
  const report = (thrown: unknown): void => {
    const stack = thrown instanceof Error ? thrown.stack : undefined;
    log.error("An error was not handled where it happened; this is a bug", {
      reason: messageOf(thrown),
      ...(log.verbose && { stack }),
    });
  };
  process.on("unhandledRejection", report);
  process.on("uncaughtException", report);
}
