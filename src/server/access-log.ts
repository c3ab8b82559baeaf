import type { Log, LogFields } from "../base/log.ts";
import type { RecordSink, RequestRecord } from "./request-record.ts";

/** Writes one line for each request to an API once it has ended. */
export function accessLog(log: Log): RecordSink {
  return (record) => log.often(`${record.method} ${record.path}`, fieldsOf(record));
}

/** Times in whole ms since the request came. */
function fieldsOf(record: RequestRecord): LogFields {
  const { startedAt, dispatchedAt, firstByteAt, endedAt, outcome, reason } = record;
  return {
    request: record.clientId,
    status: record.status,
    outcome: outcome === "complete" ? undefined : outcome,
    reason: reason === "" ? undefined : reason,
    key: record.client?.key?.name,
    model: record.model === "" ? undefined : record.model,
    worker: record.worker,
    queue_ms: since(startedAt, dispatchedAt),
    first_byte_ms: since(startedAt, firstByteAt),
    ms: since(startedAt, endedAt),
    bytes_in: record.bytesIn,
    bytes_out: record.bytesOut,
  };
}

function since(from: number, to: number | undefined): number | undefined {
  return to === undefined ? undefined : Math.round(to - from);
}
