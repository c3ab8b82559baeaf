import { backup } from "./backup.ts";
import { findBodies, insertBodies, removeBodies } from "./body-operations.ts";
import type { Access } from "./database.ts";
import {
  hashSecret,
  insertKey,
  insertWorkerSecret,
  keysAfter,
  revision,
  revokeKey,
  revokeWorkerSecret,
  touchKeys,
  updateKey,
  workerSecretsAfter,
} from "./key-operations.ts";
import type { Context } from "./operation.ts";
import { findRequest, recentRequests, removeUsage, sumUsage, tokensByKey } from "./usage-operations.ts";

export interface Operation<A extends unknown[], R> {
  access: Access;
  run: (context: Context, ...args: A) => Promise<R>;
}

function reads<A extends unknown[], R>(run: Operation<A, R>["run"]): Operation<A, R> {
  return { access: "read", run };
}

function writes<A extends unknown[], R>(run: Operation<A, R>["run"]): Operation<A, R> {
  return { access: "write", run };
}

/** What the thread can be asked for by name. */
export const OPERATIONS = {
  keysAfter: reads(keysAfter),
  insertKey: writes(insertKey),
  updateKey: writes(updateKey),
  revokeKey: writes(revokeKey),
  touchKeys: writes(touchKeys),
  hashSecret: writes(hashSecret),
  revision: reads(revision),
  workerSecretsAfter: reads(workerSecretsAfter),
  insertWorkerSecret: writes(insertWorkerSecret),
  revokeWorkerSecret: writes(revokeWorkerSecret),
  sumUsage: reads(sumUsage),
  recentRequests: reads(recentRequests),
  tokensByKey: reads(tokensByKey),
  findRequest: reads(findRequest),
  removeUsage: writes(removeUsage),
  insertBodies: writes(insertBodies),
  findBodies: reads(findBodies),
  removeBodies: writes(removeBodies),
  // Within a transaction SQLite makes no copy.
  backup: reads(backup),
};

type Operations = typeof OPERATIONS;
export type OperationName = keyof Operations;

export type OperationArgs<N extends OperationName> =
  Parameters<Operations[N]["run"]> extends [Context, ...infer A] ? A : never;
export type OperationResult<N extends OperationName> = Awaited<ReturnType<Operations[N]["run"]>>;
