import type { CheckResult } from "../base/check-result.ts";
import { oneLine } from "../base/one-line.ts";

const VERDICT_WIDTH = 5;
const STEP_WIDTH = 20;
/** Of what is told in one line, of which others may have written a part. */
const MAX_TEXT = 2_000;

/** One step of a check for a terminal, with what to do under it if anything is. */
export function checkLine(result: CheckResult): string {
  const { step, target, details, action } = result;
  const verdict = verdictOf(result);
  const found = oneLine(`${target === "" ? "" : `${target}: `}${details}`, MAX_TEXT);
  const head = `${verdict.padEnd(VERDICT_WIDTH)} ${step.padEnd(STEP_WIDTH)} ${found}\n`;
  return action === undefined
    ? head
    : `${head}${" ".repeat(VERDICT_WIDTH + 1)}→ ${oneLine(action, MAX_TEXT)}\n`;
}

function verdictOf({ ok, warning }: CheckResult): string {
  if (ok === undefined) return "skip";
  if (!ok) return "FAIL";
  return warning === true ? "warn" : "ok";
}
