import type { DatabaseSettings } from "./database.ts";
import type { OperationArgs, OperationName, OperationResult } from "./operations.ts";
import type { StoreCheck } from "./store-check.ts";
import type { StoreErrorCode } from "./store-error.ts";

// What the store and its thread say to each other. The first message is `settings`; each request is answered
// once, in any order.

/** What can be asked for besides the operations on tables. */
export interface ThreadCalls {
  /** Makes sure of the tables. @returns their version */
  prepare: { args: []; result: number };
  /** As `prepare`, and writes something small. */
  probe: { args: []; result: number };
  check: { args: []; result: StoreCheck };
  /** Adds rows as `usageBatch` gives them, in one transaction; those that are there, by their id, are left. */
  insertUsage: { args: [batchJson: string]; result: undefined };
  close: { args: []; result: undefined };
}

export type CallName = OperationName | keyof ThreadCalls;
export type CallArgs<N extends CallName> = N extends keyof ThreadCalls
  ? ThreadCalls[N]["args"]
  : N extends OperationName
    ? OperationArgs<N>
    : never;
export type CallResult<N extends CallName> = N extends keyof ThreadCalls
  ? ThreadCalls[N]["result"]
  : N extends OperationName
    ? OperationResult<N>
    : never;

export interface CallRequest {
  id: number;
  name: CallName;
  args: unknown[];
  timeoutMs: number;
}

export type ToThread = { settings: DatabaseSettings } | { call: CallRequest };

export interface FailedReply {
  code: StoreErrorCode;
  message: string;
  action: string | undefined;
}

export type FromThread = { id: number; value: unknown } | { id: number; error: FailedReply };
