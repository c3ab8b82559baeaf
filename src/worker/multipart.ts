import { concatBytes } from "./json-fields.ts";

/**
 * Replaces the value of one field of a multipart form (RFC 7578), if it is `from`. Every other byte,
 * files included, stays as it was.
 */
export function replaceFormField(
  body: Uint8Array<ArrayBuffer>,
  boundary: string,
  field: string,
  from: string,
  to: string,
): Uint8Array<ArrayBuffer> {
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.byteLength);
  const delimiter = Buffer.from(`--${boundary}`);
  for (let at = bytes.indexOf(delimiter); at !== -1;) {
    const next = bytes.indexOf(delimiter, at + delimiter.length);
    if (next === -1) break;
    const headEnd = bytes.indexOf("\r\n\r\n", at);
    if (headEnd !== -1 && headEnd < next) {
      const head = bytes.toString("utf8", at + delimiter.length, headEnd);
      const start = headEnd + 4;
      // The line break before a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
      const end = next - 2;
      if (fieldName(head) === field && bytes.toString("utf8", start, end) === from) {
        return concatBytes([bytes.subarray(0, start), Buffer.from(to), bytes.subarray(end)]);
      }
    }
    at = next;
  }
  return body;
}

function fieldName(head: string): string | undefined {
  const match = /^content-disposition:[^\r\n]*?;\s*name=(?:"([^"]*)"|([^;\s]+))/im.exec(head);
  return match?.[1] ?? match?.[2];
}
