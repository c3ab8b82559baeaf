import type { KeyRecord } from "../keys/key-store.ts";
import type { WorkerSecretRecord } from "../keys/worker-secret-store.ts";
import { PRIORITIES, type Limits, type Priority } from "../client.ts";
import { StoreError } from "./store-error.ts";

// Rows as the databases give them, and the records that they stand for. PostgreSQL gives 64-bit integers as
// text; every one that we keep is below 2^53.

/** A row of any table: names of columns, and what both databases put in them. */
export type Row = Record<string, string | number | null>;

export function integer(value: Row[string] | undefined): number {
  return Number(value);
}

export function optionalInteger(value: Row[string] | undefined): number | undefined {
  return value === null || value === undefined ? undefined : Number(value);
}

export function text(value: Row[string] | undefined): string {
  return String(value);
}

export function optionalText(value: Row[string] | undefined): string | undefined {
  return value === null || value === undefined ? undefined : String(value);
}

function damaged(table: string, row: Row, column: string, cause?: unknown): StoreError {
  return new StoreError(
    "store_corrupt",
    `Cannot read column "${column}" of the row with id "${row["id"]}" in table "${table}": it holds what modelrelay never writes there`,
    { action: "Correct or remove that row", cause },
  );
}

function json(table: string, row: Row, column: string): unknown {
  try {
    return JSON.parse(text(row[column]));
  } catch (cause) {
    throw damaged(table, row, column, cause);
  }
}

function modelsOf(table: string, row: Row): string[] | undefined {
  if (row["models"] === null) return undefined;
  const models = json(table, row, "models");
  const isList = Array.isArray(models) && models.every((model) => typeof model === "string");
  if (!isList) throw damaged(table, row, "models");
  return models;
}

function limitsOf(row: Row): Limits {
  const limits = json("keys", row, "limits");
  if (typeof limits !== "object" || limits === null || Array.isArray(limits))
    throw damaged("keys", row, "limits");
  return limits;
}

function priorityOf(row: Row): Priority {
  const priority = PRIORITIES.find((known) => known === row["priority"]);
  if (priority === undefined) throw damaged("keys", row, "priority");
  return priority;
}

export function keyOf(row: Row): KeyRecord {
  return {
    id: text(row["id"]),
    name: text(row["name"]),
    prefix: text(row["prefix"]),
    hash: text(row["hash"]),
    models: modelsOf("keys", row),
    priority: priorityOf(row),
    limits: limitsOf(row),
    createdAt: integer(row["created_at"]),
    expiresAt: optionalInteger(row["expires_at"]),
    revokedAt: optionalInteger(row["revoked_at"]),
    lastUsedAt: optionalInteger(row["last_used_at"]),
  };
}

/** The columns of what a record says; of a part of one, those of the fields that are there. */
export function keyColumns(record: Partial<KeyRecord>): Row {
  const columns: Row = {};
  if ("id" in record) columns["id"] = record.id ?? null;
  if ("name" in record) columns["name"] = record.name ?? null;
  if ("prefix" in record) columns["prefix"] = record.prefix ?? null;
  if ("hash" in record) columns["hash"] = record.hash ?? null;
  if ("models" in record)
    columns["models"] = record.models === undefined ? null : JSON.stringify(record.models);
  if ("priority" in record) columns["priority"] = record.priority ?? "normal";
  if ("limits" in record) columns["limits"] = JSON.stringify(record.limits ?? {});
  if ("createdAt" in record) columns["created_at"] = record.createdAt ?? null;
  if ("expiresAt" in record) columns["expires_at"] = record.expiresAt ?? null;
  if ("revokedAt" in record) columns["revoked_at"] = record.revokedAt ?? null;
  if ("lastUsedAt" in record) columns["last_used_at"] = record.lastUsedAt ?? null;
  return columns;
}

export function workerSecretOf(row: Row): WorkerSecretRecord {
  return {
    id: text(row["id"]),
    name: text(row["name"]),
    prefix: text(row["prefix"]),
    hash: text(row["hash"]),
    models: modelsOf("worker_secrets", row),
    createdAt: integer(row["created_at"]),
    revokedAt: optionalInteger(row["revoked_at"]),
  };
}

export function workerSecretColumns(record: WorkerSecretRecord): Row {
  return {
    id: record.id,
    name: record.name,
    prefix: record.prefix,
    hash: record.hash,
    models: record.models === undefined ? null : JSON.stringify(record.models),
    created_at: record.createdAt,
    revoked_at: record.revokedAt ?? null,
  };
}
