import type { CheckResult } from "../base/check-result.ts";

const VERDICT_WIDTH = 5;
const STEP_WIDTH = 20;

/** One step of a check for a terminal, with what to do under it if it failed. */
export function checkLine({ step, ok, target, details, action }: CheckResult): string {
  const verdict = ok === undefined ? "skip" : ok ? "ok" : "FAIL";
  const head = `${verdict.padEnd(VERDICT_WIDTH)} ${step.padEnd(STEP_WIDTH)} ${target === "" ? "" : `${target}: `}${details}\n`;
  return action === undefined ? head : `${head}${" ".repeat(VERDICT_WIDTH + 1)}→ ${action}\n`;
}
