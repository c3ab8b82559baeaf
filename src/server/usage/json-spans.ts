import {
  CLOSE_BRACE,
  CLOSE_BRACKET,
  COLON,
  COMMA,
  isSpace,
  OPEN_BRACE,
  OPEN_BRACKET,
  QUOTE,
  stringAt,
  stringEnd,
} from "../../protocol/json-bytes.ts";

/** Where members stand in JSON text, found without parsing it; what is not JSON is not found. */

/**
 * One member of an object.
 *
 * @param name `undefined` if its escapes are none
 * @param end behind the value; `undefined` if the text ends before it
 * @returns true if the rest is of no interest
 */
export type MemberVisitor = (
  name: string | undefined,
  start: number,
  end: number | undefined,
) => boolean | void;

/** @returns the index of the first byte from `at` on that is no white space */
export function skipBlank(json: Uint8Array, at: number): number {
  while (isSpace(json[at])) at++;
  return at;
}

/**
 * Visits the members of the object that begins at `start`, in their order.
 *
 * @returns the index behind its closing brace; `undefined` if it is not whole, or a visitor had enough
 */
export function scanObject(json: Uint8Array, start: number, visit: MemberVisitor): number | undefined {
  if (json[start] !== OPEN_BRACE) return undefined;
  let at = skipBlank(json, start + 1);
  if (json[at] === CLOSE_BRACE) return at + 1;
  for (;;) {
    const nameEnd = json[at] === QUOTE ? stringEnd(json, at) : undefined;
    if (nameEnd === undefined) return undefined;
    const colon = skipBlank(json, nameEnd);
    if (json[colon] !== COLON) return undefined;
    const value = skipBlank(json, colon + 1);
    const end = valueEnd(json, value);
    if (visit(stringAt(json, at, nameEnd), value, end) === true || end === undefined) return undefined;
    at = skipBlank(json, end);
    if (json[at] === CLOSE_BRACE) return at + 1;
    if (json[at] !== COMMA) return undefined;
    at = skipBlank(json, at + 1);
  }
}

/** Index behind the value that begins at `at`; `undefined` if there is none, or it is not whole. */
export function valueEnd(json: Uint8Array, at: number): number | undefined {
  const first = json[at];
  if (first === QUOTE) return stringEnd(json, at);
  if (first === OPEN_BRACE || first === OPEN_BRACKET) return depthEnd(json, at, 0);
  let end = at;
  while (end < json.length && !endsScalar(json[end])) end++;
  return end === at || end === json.length ? undefined : end;
}

/** Index behind the byte with which as many brackets are closed as are opened from `at` on, and `below` more. */
function depthEnd(json: Uint8Array, at: number, below: number): number | undefined {
  let depth = below;
  for (; at < json.length; at++) {
    const byte = json[at];
    if (byte === QUOTE) {
      const end = stringEnd(json, at);
      if (end === undefined) return undefined;
      at = end - 1;
    } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) depth++;
    else if ((byte === CLOSE_BRACE || byte === CLOSE_BRACKET) && --depth === 0) return at + 1;
  }
  return undefined;
}

/**
 * Whether `at`, which is outside of every string, is so deep that the text's last byte closes the `depth`th
 * bracket around it.
 */
export function isDepth(json: Uint8Array, at: number, depth: number): boolean {
  const end = depthEnd(json, at, depth);
  return end !== undefined && skipBlank(json, end) === json.length;
}

function endsScalar(byte: number | undefined): boolean {
  return byte === COMMA || byte === CLOSE_BRACE || byte === CLOSE_BRACKET || isSpace(byte);
}
