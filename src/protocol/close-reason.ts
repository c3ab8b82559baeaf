/** What an end sees of a connection that ended without a close frame; none is ever sent (RFC 6455 §7.1.5). */
export const ABNORMAL = 1006;

/** A close frame holds at most 123 bytes of reason (RFC 6455 §5.5). */
const MAX_BYTES = 123;

/** As much of a reason as a close frame holds, without half a character at its end. */
export function closeReason(text: string): string {
  const bytes = Buffer.from(text);
  if (bytes.length <= MAX_BYTES) return text;
  return bytes
    .subarray(0, MAX_BYTES)
    .toString()
    .replace(/\ufffd+$/, "");
}
