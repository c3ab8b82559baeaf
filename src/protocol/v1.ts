/**
 * Version 1 of the link: `2026-04-bridge-v1`, JSON text messages. What is here is what both ends share;
 * `docs/protocol.md` has the table of messages. Optional fields are left out when absent, and unknown
 * types and fields are skipped.
 */

import { CLOSE, V1_MAX_MESSAGE } from "./limits.ts";
import { FEATURES, ProtocolError, type Feature, type HeaderFields } from "./messages.ts";

export const V1_VERSION = "2026-04-bridge-v1";

/** What an incoming message looks like before its fields have been looked at. */
export type Fields = Record<string, unknown>;

/**
 * Reads one message.
 *
 * @throws {ProtocolError} if it is binary, too long, not JSON, or has no type
 */
export function parseMessage(message: string | Uint8Array): { type: string; fields: Fields } {
  if (typeof message !== "string") {
    throw new ProtocolError("Cannot read a binary message: protocol v1 is JSON text", CLOSE.protocol);
  }
  if (message.length > 8 * V1_MAX_MESSAGE) {
    throw new ProtocolError(`Cannot read a message of ${message.length} characters`, CLOSE.protocol);
  }
  let parsed: unknown;
  try {
    parsed = JSON.parse(message);
  } catch {
    throw new ProtocolError("Cannot read a message: it is not JSON", CLOSE.protocol);
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    throw new ProtocolError("Cannot read a message: it is not a JSON object", CLOSE.protocol);
  }
  const fields = parsed as Fields;
  if (typeof fields["type"] !== "string") {
    throw new ProtocolError('Cannot read a message: "type" is missing', CLOSE.protocol);
  }
  return { type: fields["type"], fields };
}

function wrong(fields: Fields, name: string, wanted: string): ProtocolError {
  const { type } = fields;
  const what = typeof type === "string" ? `"${type.slice(0, 32)}"` : "a message";
  return new ProtocolError(`Cannot read ${what}: "${name}" must be ${wanted}`, CLOSE.protocol);
}

export function textField(fields: Fields, name: string): string {
  const value = fields[name];
  if (typeof value !== "string") throw wrong(fields, name, "a string");
  return value;
}

export function optionalText(fields: Fields, name: string): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "string") throw wrong(fields, name, "a string");
  return value;
}

export function optionalCount(fields: Fields, name: string): number | undefined {
  const value = fields[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value !== "number" || !Number.isSafeInteger(value) || value < 0) {
    throw wrong(fields, name, "a whole number");
  }
  return value;
}

export function countField(fields: Fields, name: string): number {
  const value = optionalCount(fields, name);
  if (value === undefined) throw wrong(fields, name, "a whole number");
  return value;
}

export function textList(fields: Fields, name: string): string[] {
  const value = fields[name];
  if (!Array.isArray(value) || value.some((entry) => typeof entry !== "string")) {
    throw wrong(fields, name, "an array of strings");
  }
  return value as string[];
}

/**
 * Header fields by lower-case name, as HTTP does not tell spellings apart: a peer that writes a name in
 * capitals must not be looked at without it. Values that are not strings are left out, since no header has one.
 */
export function headerFields(fields: Fields, name: string): HeaderFields {
  const value = fields[name];
  if (value === undefined || value === null) return {};
  if (typeof value !== "object" || Array.isArray(value)) throw wrong(fields, name, "an object");
  const headers: HeaderFields = {};
  for (const key in value) {
    const entry: unknown = (value as Fields)[key];
    if (typeof entry === "string") headers[key.toLowerCase()] = entry;
  }
  return headers;
}

export function featureList(fields: Fields): Feature[] {
  const value = fields["features"];
  if (!Array.isArray(value)) return [];
  return FEATURES.filter((feature) => value.includes(feature));
}

/**
 * Whether the peer's version can be spoken with. Versions are `<date>-bridge-v<major>`; the major must
 * be ours. An absent version counts as v1.
 */
export function speaksV1(version: string | undefined): boolean {
  return version === undefined || /-v1(\.\d+)*$/.test(version);
}

/** What a request's message holds beside the body: names, path and header fields, generously. */
const AROUND_BODY = 256 * 1024;
/** Characters that escaping adds to each byte: most to a control character, as in `\u0001`. */
const ADDED_BY_ESCAPING = new Uint8Array(256).map(
  (_, byte) => JSON.stringify(String.fromCharCode(byte)).length - 3,
);
const MOST_ADDED = 5;

/** Whether a body of UTF-8 text, escaped as JSON, fits into one message. */
export function fitsOneMessage(body: Uint8Array): boolean {
  let room = V1_MAX_MESSAGE - AROUND_BODY - body.length;
  if (room < 0) return false;
  if (body.length * MOST_ADDED <= room) return true;
  // By index: an iterator takes several times as long (9 ms for 16 MB this way).
  for (let at = 0; at < body.length; at++) room -= ADDED_BY_ESCAPING[body[at] ?? 0] ?? 0;
  return room >= 0;
}

/** Content type of a streamed answer whose head a v1 worker never sends. */
export function assumedStreamType(path: string): string {
  return path.startsWith("/api/") ? "application/x-ndjson" : "text/event-stream";
}
