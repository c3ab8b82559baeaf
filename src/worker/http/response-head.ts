import type { HeaderFields } from "../../protocol/messages.ts";
import { malformed, ResponseError } from "./response-error.ts";

/** More than any inference server sends, and what common clients take. */
export const MAX_HEAD_BYTES = 64 * 1024;
const MAX_FIELDS = 256;

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const TAB = 0x09;

const BEGINNING = Buffer.from("HTTP/1.");
const STATUS_LINE = /^HTTP\/1\.([01]) (\d{3})(?: |$)/;
const LENGTH = /^\d{1,15}$/;
const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;

interface StatusLine {
  isHttp11: boolean;
  /** Three digits, whatever they are. */
  status: number;
}

/** What stands before the body of a response. */
export interface Head extends StatusLine {
  /** By lower-case name, without a prototype; bytes beyond ASCII as Latin-1. */
  fields: HeaderFields;
}

interface Field {
  /** In lower case. */
  name: string;
  value: string;
}

/**
 * Lines as they came, which have passed all checks. The heads of one backend are nearly the same each time,
 * and to read a line anew takes four times as long as to find it here (2026-11).
 */
const KNOWN_FIELDS = new Map<string, Field>();
const KNOWN_STATUS_LINES = new Map<string, StatusLine>();
const MAX_KNOWN = 256;
/** A line that is remembered keeps the head in memory that it was cut out of. */
const MAX_KNOWN_HEAD = 4 * 1024;

function remember<V>(known: Map<string, V>, line: string, value: V, head: string): V {
  if (head.length > MAX_KNOWN_HEAD) return value;
  // Most are dates, each of which is of no use after its second.
  if (known.size >= MAX_KNOWN) known.clear();
  known.set(line, value);
  return value;
}

/** What speaks another protocol is not to be waited for. */
export function couldBeHttp(bytes: Uint8Array): boolean {
  const length = Math.min(bytes.length, BEGINNING.length);
  for (let at = 0; at < length; at++) if (bytes[at] !== BEGINNING[at]) return false;
  return true;
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
  const end = lineEnd(text, 0);
  const line = text.slice(0, end);
  const { isHttp11, status } = KNOWN_STATUS_LINES.get(line) ?? readStatusLine(line, text);
  return { isHttp11, status, fields: readFields(text, end + 1) };
}

function readStatusLine(line: string, head: string): StatusLine {
  const match = STATUS_LINE.exec(withoutReturn(line));
  if (match === null) throw malformed("The answer does not begin with HTTP/1.1 and a status");
  const read = { isHttp11: match[1] === "1", status: Number(match[2]) };
  return remember(KNOWN_STATUS_LINES, line, read, head);
}

/** Field lines from `from` on; what stands there several times is joined (RFC 9110 §5.3). */
function readFields(text: string, from: number): HeaderFields {
  // Without a prototype: a field may be called "constructor".
  const fields = Object.create(null) as HeaderFields;
  let last: string | undefined;
  let count = 0;
  for (let at = from; at < text.length;) {
    const end = lineEnd(text, at);
    const line = text.slice(at, end);
    at = end + 1;
    if (line === "" || line === "\r") continue;
    if (++count > MAX_FIELDS)
      throw new ResponseError("ResponseHeadersTooLarge", `The head has more than ${MAX_FIELDS} fields`);
    if (isSpace(line, 0)) {
      // A value that goes on (RFC 9112 §5.2).
      if (last === undefined) throw malformed("The first field has no name");
      fields[last] += ` ${withoutSpace(checkedLine(line))}`;
      continue;
    }
    const { name, value } = KNOWN_FIELDS.get(line) ?? readField(line, text);
    const before = fields[name];
    fields[name] = before === undefined ? value : `${before}, ${value}`;
    last = name;
  }
  return fields;
}

function readField(given: string, head: string): Field {
  const line = checkedLine(given);
  const colon = line.indexOf(":");
  const name = line.slice(0, Math.max(colon, 0));
  if (!TOKEN.test(name)) throw malformed("A field has no name");
  const field = { name: name.toLowerCase(), value: withoutSpace(line.slice(colon + 1)) };
  return remember(KNOWN_FIELDS, given, field, head);
}

/** A line without its end. @throws {ResponseError} if whoever it is passed on to may find an end in it (RFC 9110 §5.5) */
function checkedLine(given: string): string {
  const line = withoutReturn(given);
  if (line.includes("\r") || line.includes("\0")) throw malformed("A field holds a line break or a NUL");
  return line;
}

/** The number that a Content-Length gives, perhaps several times. @throws {ResponseError} if it gives none */
export function readLength(declared: string): number {
  if (LENGTH.test(declared)) return Number(declared);
  const [length = "", ...others] = declared.split(",").map(withoutSpace);
  if (!LENGTH.test(length) || others.some((other) => other !== length))
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

function lineEnd(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  return end < 0 ? text.length : end;
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
  const code = text.charCodeAt(at);
  return code === SPACE || code === TAB;
}
