/** One step of a check that looks for what is wrong, in the order in which people search. */
export interface CheckResult<Step extends string = string> {
  step: Step;
  /** What was looked at: a host, an address, a model. */
  target: string;
  /** `undefined`: not tried, since a step before it failed, or not needed. */
  ok: boolean | undefined;
  /** It works, and somebody should look at it all the same. */
  warning?: true;
  /** What was seen, as a sentence. */
  details: string;
  /** What to do about a failure or a warning. */
  action?: string;
}

/** A result before it is known which step it is of. */
export type Outcome = Omit<CheckResult, "step">;

/** The details of a step that cannot be tried. */
export const NOT_TRIED = "not tried, since a step before it failed";
