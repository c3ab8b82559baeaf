import { messageOf, Problem, UsageError } from "../base/errors.ts";
import { plain } from "./request-text.ts";

/** Exit codes besides 0; 64-78 follow sysexits(3). */
export const EXIT = {
  failed: 1,
  usage: 2,
  unavailable: 69,
  bug: 70,
  interrupted: 130,
  terminated: 143,
} as const;

/**
 * Tells the operator why the program ends.
 *
 * @param write to stderr
 * @param withStack whether an unexpected error shows where it arose; a foreseen one never does
 * @returns the exit code
 */
export function reportFailure(thrown: unknown, write: (text: string) => void, withStack: boolean): number {
  if (thrown instanceof Problem) {
    const action = thrown.action === undefined ? "" : `  → ${thrown.action}\n`;
    // It may quote what a server has said.
    write(plain(`error: ${thrown.message}\n${action}`));
    return thrown instanceof UsageError ? EXIT.usage : EXIT.failed;
  }
  const stack = withStack && thrown instanceof Error && thrown.stack !== undefined ? `${thrown.stack}\n` : "";
  const more = withStack ? "" : "; LOG_LEVEL=debug shows where it arose";
  write(
    plain(
      `error: ${messageOf(thrown)}\n  → This is a bug in modelrelay: please report it with the command that led here${more}\n${stack}`,
    ),
  );
  return EXIT.bug;
}
