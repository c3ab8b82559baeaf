/** What a failed operation says to whoever runs the program: a sentence, and what to do about it. */
export interface ProblemOptions extends ErrorOptions {
  /** What the reader can do; one sentence without a final period. */
  action?: string;
}

/**
 * An error meant for the operator: `message` says what could not be done, with the value and where it
 * came from; `action` says what to do; `cause` keeps the error beneath.
 */
export class Problem extends Error {
  override readonly name: string = "Problem";
  readonly action: string | undefined;

  constructor(message: string, options: ProblemOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.action = options.action;
  }
}

/** The command line, environment or config file is wrong. Ends the process with exit code 2. */
export class UsageError extends Problem {
  override readonly name = "UsageError";
}

/** The text of anything thrown, for a log line or the end of a sentence. Never a stack. */
export function messageOf(thrown: unknown): string {
  if (thrown instanceof Error) return thrown.message === "" ? thrown.name : thrown.message;
  return String(thrown);
}

/** The stable code of a system's or a connection's error, such as `ENOENT` or `ECONNREFUSED`; `undefined` if it has none. */
export function errorCode(thrown: unknown): string | undefined {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  return typeof code === "string" ? code : undefined;
}

/** Marks the branch that no member of a union reaches; the compiler refuses a missing case. */
export function unreachable(value: never): never {
  throw new Error(`Cannot handle value: ${JSON.stringify(value)}`);
}
