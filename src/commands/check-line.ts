import type { CheckResult } from "../base/check-result.ts";

const VERDICT_WIDTH = 5;
const STEP_WIDTH = 20;

/** One step of a check for a terminal, with what to do under it if anything is. */
export function checkLine(result: CheckResult): string {
  const { step, target, details, action } = result;
  const verdict = verdictOf(result);
  const head = `${verdict.padEnd(VERDICT_WIDTH)} ${step.padEnd(STEP_WIDTH)} ${target === "" ? "" : `${target}: `}${details}\n`;
  return action === undefined ? head : `${head}${" ".repeat(VERDICT_WIDTH + 1)}→ ${action}\n`;
}

function verdictOf({ ok, warning }: CheckResult): string {
  if (ok === undefined) return "skip";
  if (!ok) return "FAIL";
  return warning === true ? "warn" : "ok";
}
