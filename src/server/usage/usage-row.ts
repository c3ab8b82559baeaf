import type { RequestRecord } from "../request-record.ts";
import type { UsageRow } from "./usage-store.ts";

/** Names come from clients and backends, who may write anything; no real one is as long. */
const MAX_NAME = 256;
const MAX_PATH = 512;

/** What is kept of a request that has ended. */
export function usageRow(record: RequestRecord): UsageRow {
  const { client, tokens } = record;
  const { queueMs, firstByteMs, totalMs } = record.times();
  return {
    id: record.id,
    at: record.at,
    keyId: client?.key?.id,
    keyName: client?.key?.name,
    model: record.model.slice(0, MAX_NAME),
    servedModel: record.servedModel?.slice(0, MAX_NAME),
    worker: record.worker,
    path: record.path.slice(0, MAX_PATH),
    status: record.status,
    outcome: record.outcome ?? "complete",
    reason: record.reason,
    queueMs,
    firstByteMs,
    totalMs,
    promptTokens: tokens?.prompt ?? 0,
    completionTokens: tokens?.completion ?? 0,
    cachedTokens: tokens?.cached ?? 0,
    estimated: tokens?.estimated ?? false,
    bytesIn: record.bytesIn,
    bytesOut: record.bytesOut,
  };
}
