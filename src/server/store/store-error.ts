import { Problem, type ProblemOptions } from "../../base/errors.ts";

/** What went wrong with the database, as a stable code. */
export type StoreErrorCode =
  /** It cannot be reached, or says that it cannot serve now. */
  | "store_unavailable"
  /** No answer in time: locked by another process, a disk or a server that hangs. What was asked may happen yet. */
  | "store_timeout"
  /** No room is left where it is. */
  | "store_full"
  /** It may be read and not written. */
  | "store_readonly"
  /** It does not let this user in, or the file may not be opened. */
  | "store_refused"
  /** The file or its pages are no database that can be read, or a row holds what was never written. */
  | "store_corrupt"
  /** A newer program has changed its tables. */
  | "store_newer"
  /** There is none yet, and the caller asked for none to be made. */
  | "store_missing"
  /** What is to be written is there already. */
  | "store_conflict"
  /** The kind of database cannot do that. */
  | "store_unsupported"
  /** It was closed. */
  | "store_closed"
  /** It refused a statement for a reason that we do not foresee. */
  | "store_failed";

/** Mistakes of a single call, which say nothing about the database as a whole. */
const OF_ONE_CALL: ReadonlySet<StoreErrorCode> = new Set([
  "store_conflict",
  "store_unsupported",
  "store_missing",
  "store_closed",
]);

/** Waiting and trying again does not help with these; the operator has to do something. */
const LASTING: ReadonlySet<StoreErrorCode> = new Set([
  "store_refused",
  "store_corrupt",
  "store_newer",
  "store_missing",
]);

/** A call on the database failed; the message is for the operator and never holds a password. */
export class StoreError extends Problem {
  override readonly name = "StoreError";
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string, options: ProblemOptions = {}) {
    super(message, options);
    this.code = code;
  }

  /** Whether the database as a whole is not well, other calls included. */
  get isOfDatabase(): boolean {
    return !OF_ONE_CALL.has(this.code);
  }

  get isLasting(): boolean {
    return LASTING.has(this.code);
  }
}

/**
 * Whether the store has told the operator of this failure: what follows from it need not be a warning of its
 * own in each part that notices.
 */
export function hasToldItself(thrown: unknown): boolean {
  return thrown instanceof StoreError && thrown.isOfDatabase;
}
