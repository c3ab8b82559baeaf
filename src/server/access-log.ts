import type { Log, LogFields } from "../base/log.ts";
import type { RecordSink, RequestRecord } from "./request-record.ts";

/** Writes one line for each request to an API once it has ended. */
export function accessLog(log: Log): RecordSink {
  return (record) => log.often(`${record.method} ${record.path}`, fieldsOf(record));
}

function fieldsOf(record: RequestRecord): LogFields {
  const { outcome, reason } = record;
  const { queueMs, firstByteMs, totalMs } = record.times();
  return {
    request: record.clientId,
    // The relay's own, under which usage is kept.
    id: record.clientId === record.id ? undefined : record.id,
    status: record.status,
    outcome: outcome === "complete" ? undefined : outcome,
    reason: reason === "" ? undefined : reason,
    key: record.client?.key?.name,
    model: record.model === "" ? undefined : record.model,
    worker: record.worker,
    queue_ms: queueMs,
    first_byte_ms: firstByteMs,
    ms: totalMs,
    bytes_in: record.bytesIn,
    bytes_out: record.bytesOut,
  };
}
