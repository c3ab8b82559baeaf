/** W3C Trace Context (https://www.w3.org/TR/trace-context-2/): how requests of one trace find together. */

/** The trace of which a request is a part, as its client names it. */
export interface TraceParent {
  /** 32 hexadecimal digits in lower case, as all ids here; not all of them 0. */
  traceId: string;
  /** 16 digits. */
  spanId: string;
  /** The two bits that have a meaning. */
  flags: number;
}

/** The trace is recorded by whoever sent this. */
export const SAMPLED = 0x01;
/** The right half of the trace's id is random (level 2); passed on, never set by us: some older readers refuse it. */
const RANDOM = 0x02;

const TRACE_PARENT = /^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/;
const ZEROS = /^0+$/;

/** @returns `undefined` for a value that is not one, after which a new trace is to be begun (§2.2.2, §4.2) */
export function parseTraceParent(value: string | null): TraceParent | undefined {
  const [, version, traceId = "", spanId = "", flags = "", rest] = TRACE_PARENT.exec(value ?? "") ?? [];
  if (version === undefined || version === "ff" || (version === "00" && rest !== undefined)) return undefined;
  if (ZEROS.test(traceId) || ZEROS.test(spanId)) return undefined;
  return { traceId, spanId, flags: Number.parseInt(flags, 16) & (SAMPLED | RANDOM) };
}

export function formatTraceParent({ traceId, spanId, flags }: TraceParent): string {
  return `00-${traceId}-${spanId}-${flags.toString(16).padStart(2, "0")}`;
}
