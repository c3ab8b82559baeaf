import type { HeaderFields } from "../../protocol/messages.ts";
import { malformed, ResponseError } from "./response-error.ts";

/** More than any inference server sends, and what common clients take. */
export const MAX_HEAD_BYTES = 64 * 1024;
const MAX_FIELDS = 256;

const CR = 0x0d;
const LF = 0x0a;

const STATUS_LINE = /^HTTP\/1\.([01]) (\d{3})(?: |$)/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

/** What stands before the body of a response. */
export interface Head {
  isHttp11: boolean;
  /** Three digits, whatever they are. */
  status: number;
  /** By lower-case name, without a prototype; bytes beyond ASCII as Latin-1. */
  fields: HeaderFields;
}

/** What speaks another protocol is not to be waited for. */
export function couldBeHttp(bytes: Buffer): boolean {
  const begun = bytes.toString("latin1", 0, 7);
  return "HTTP/1.".startsWith(begun);
}

/** Index behind the empty line, or -1. A line may end with a bare line feed (RFC 9112 §2.2). */
export function endOfHead(bytes: Uint8Array, from: number): number {
  for (let at = bytes.indexOf(LF, from); at >= 0; at = bytes.indexOf(LF, at + 1)) {
    if (bytes[at + 1] === LF) return at + 2;
    if (bytes[at + 1] === CR && bytes[at + 2] === LF) return at + 3;
  }
  return -1;
}

/**
 * @param text up to the end of the head
 * @throws {ResponseError} if this is no HTTP/1.1, or has too many fields
 */
export function readHead(text: string): Head {
  const lines = text.split("\n");
  const match = STATUS_LINE.exec(withoutReturn(lines[0] ?? ""));
  if (match === null) throw malformed("The answer does not begin with HTTP/1.1 and a status");
  return { isHttp11: match[1] === "1", status: Number(match[2]), fields: readFields(lines) };
}

/** Field lines behind the first line; what stands there several times is joined (RFC 9110 §5.3). */
function readFields(lines: readonly string[]): HeaderFields {
  // Without a prototype: a field may be called "constructor".
  const fields = Object.create(null) as HeaderFields;
  if (lines.length > MAX_FIELDS + 3)
    throw new ResponseError("ResponseHeadersTooLarge", `The head has more than ${MAX_FIELDS} fields`);
  let last: string | undefined;
  for (let index = 1; index < lines.length; index++) {
    const line = withoutReturn(lines[index]!);
    if (line === "") continue;
    // Whoever it is passed on to may take either for the end of the line (RFC 9110 §5.5).
    if (line.includes("\r") || line.includes("\0")) throw malformed("A field holds a line break or a NUL");
    if (isSpace(line, 0)) {
      // A value that goes on (RFC 9112 §5.2).
      if (last === undefined) throw malformed("The first field has no name");
      fields[last] += ` ${withoutSpace(line)}`;
      continue;
    }
    const colon = line.indexOf(":");
    const given = line.slice(0, Math.max(colon, 0));
    if (!TOKEN.test(given)) throw malformed("A field has no name");
    const name = given.toLowerCase();
    const value = withoutSpace(line.slice(colon + 1));
    const before = fields[name];
    fields[name] = before === undefined ? value : `${before}, ${value}`;
    last = name;
  }
  return fields;
}

/** The number that a Content-Length gives, perhaps several times. @throws {ResponseError} if it gives none */
export function readLength(declared: string): number {
  const [length = "", ...others] = declared.split(",").map(withoutSpace);
  if (!/^\d{1,15}$/.test(length) || others.some((other) => other !== length))
    throw malformed("The content length is no number");
  return Number(length);
}

/** Whether the server means to keep the connection (RFC 9112 §9.3). */
export function keepsConnection({ isHttp11, fields }: Head): boolean {
  const options = fields["connection"]?.toLowerCase();
  if (options === undefined) return isHttp11;
  if (options.includes("close")) return false;
  return isHttp11 || options.includes("keep-alive");
}

function withoutReturn(line: string): string {
  return line.endsWith("\r") ? line.slice(0, -1) : line;
}

/** `trim` would take a last byte of 0xa0 with it, with which characters of UTF-8 such as "à" end. */
function withoutSpace(text: string): string {
  let from = 0;
  let to = text.length;
  while (isSpace(text, from)) from++;
  while (to > from && isSpace(text, to - 1)) to--;
  return text.slice(from, to);
}

function isSpace(text: string, at: number): boolean {
  return text[at] === " " || text[at] === "\t";
}
