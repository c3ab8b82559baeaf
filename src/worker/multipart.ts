import { concatBytes } from "./json-fields.ts";

/** Where a field of a form stands in its body: `[start, end)` is its value. */
interface FormField {
  name: string | undefined;
  start: number;
  end: number;
}

const TYPE = /^multipart\/form-data\b.*?;\s*boundary=(?:"([^"]+)"|([^;\s]+))/i;

/** The boundary of a multipart form, or `undefined` if the content type is another. */
export function formBoundary(contentType: string | undefined): string | undefined {
  const match = TYPE.exec(contentType ?? "");
  return match?.[1] ?? match?.[2];
}

/** The fields of a multipart form (RFC 7578), files included, in one pass. */
function* formFields(bytes: Buffer, boundary: string): Generator<FormField> {
  const delimiter = Buffer.from(`--${boundary}`);
  for (let at = bytes.indexOf(delimiter); at !== -1;) {
    const next = bytes.indexOf(delimiter, at + delimiter.length);
    if (next === -1) return;
    const part = bytes.subarray(at + delimiter.length, next);
    const headLength = part.indexOf("\r\n\r\n");
    if (headLength !== -1) {
      const name = fieldName(part.toString("utf8", 0, headLength));
      // The line break before a delimiter belongs to the delimiter (RFC 2046 §5.1.1).
      yield { name, start: at + delimiter.length + headLength + 4, end: next - 2 };
    }
    at = next;
  }
}

function bufferOf(body: Uint8Array): Buffer {
  return Buffer.from(body.buffer, body.byteOffset, body.byteLength);
}

/** The values of all fields called `field`, as text. */
export function formFieldValues(body: Uint8Array, boundary: string, field: string): string[] {
  const bytes = bufferOf(body);
  const values: string[] = [];
  for (const { name, start, end } of formFields(bytes, boundary)) {
    if (name === field) values.push(bytes.toString("utf8", start, end));
  }
  return values;
}

/**
 * Replaces the value of one field of a multipart form, wherever it is `from`. Every other byte, files
 * included, stays as it was.
 */
export function replaceFormField(
  body: Uint8Array<ArrayBuffer>,
  boundary: string,
  field: string,
  from: string,
  to: string,
): Uint8Array<ArrayBuffer> {
  const bytes = bufferOf(body);
  const parts: Uint8Array[] = [];
  let copied = 0;
  for (const { name, start, end } of formFields(bytes, boundary)) {
    if (name !== field || bytes.toString("utf8", start, end) !== from) continue;
    parts.push(bytes.subarray(copied, start), Buffer.from(to));
    copied = end;
  }
  return copied === 0 ? body : concatBytes([...parts, bytes.subarray(copied)]);
}

function fieldName(head: string): string | undefined {
  const match = /^content-disposition:[^\r\n]*?;\s*name=(?:"([^"]*)"|([^;\s]+))/im.exec(head);
  return match?.[1] ?? match?.[2];
}
