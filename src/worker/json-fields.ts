/**
 * Finds string values in JSON text without reading it into objects, so that one value can be replaced
 * and every other byte stays as it was: key order, spacing, big numbers and all.
 */
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
} from "../protocol/json-bytes.ts";

/** Where a value stands in the text, quotes included: `[start, end)`. */
export interface ValueRange {
  start: number;
  end: number;
  value: string;
}

const encoder = new TextEncoder();

/**
 * The string values at the given paths of the outermost object, in the order in which they stand.
 *
 * @param paths such as `["model"]` or `["message", "model"]`
 * @returns empty if the text is not an object; what comes before a mistake in it is still found
 */
export function findStrings(json: Uint8Array, paths: readonly (readonly string[])[]): ValueRange[] {
  const found: ValueRange[] = [];
  /** Keys of the objects around the current place; an array or a place before a key has `undefined`. */
  const keys: (string | undefined)[] = [];
  let key: string | undefined;
  let expectsKey = false;
  const longest = Math.max(...paths.map((path) => path.length));

  for (let at = 0; at < json.length; at++) {
    const byte = json[at] ?? 0;
    switch (byte) {
      case OPEN_BRACE:
      case OPEN_BRACKET:
        keys.push(key);
        key = undefined;
        expectsKey = byte === OPEN_BRACE;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
        key = keys.pop();
        expectsKey = false;
        if (keys.length === 0) return found;
        break;
      case COMMA:
        // After an element of an array no key is remembered, so that nothing in it can match.
        expectsKey = key !== undefined;
        key = undefined;
        break;
      case COLON:
        expectsKey = false;
        break;
      case QUOTE: {
        const end = stringEnd(json, at);
        if (end === undefined) return found;
        // Text deeper than any path is skipped without being decoded: that is nearly all of it.
        if (keys.length > longest) {
          if (expectsKey) key = "";
        } else if (expectsKey) {
          key = stringAt(json, at, end) ?? "";
        } else if (key !== undefined && paths.some((path) => isAt(path, keys, key))) {
          const value = stringAt(json, at, end);
          if (value !== undefined) found.push({ start: at, end, value });
        }
        at = end - 1;
        break;
      }
      default:
        if (keys.length === 0 && !isSpace(byte)) return found;
    }
  }
  return found;
}

function isAt(
  path: readonly string[],
  keys: readonly (string | undefined)[],
  key: string | undefined,
): boolean {
  // keys[0] stands for the outermost object itself, which has no key.
  if (keys.length !== path.length || path.at(-1) !== key) return false;
  for (let i = 1; i < keys.length; i++) if (keys[i] !== path[i - 1]) return false;
  return true;
}

/** The same text with the strings at `ranges` replaced by `value`. */
export function replaceStrings(
  json: Uint8Array<ArrayBuffer>,
  ranges: readonly ValueRange[],
  value: string,
): Uint8Array<ArrayBuffer> {
  if (ranges.length === 0) return json;
  const replacement = encoder.encode(JSON.stringify(value));
  const parts: Uint8Array[] = [];
  let from = 0;
  for (const { start, end } of ranges) {
    parts.push(json.subarray(from, start), replacement);
    from = end;
  }
  parts.push(json.subarray(from));
  return concatBytes(parts);
}

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}
