/**
 * Which models a JSON body names. Readers of JSON disagree on a name that stands there twice (the first,
 * the last, none) and on its case (Go's takes "Model" for "model"), so that a body could be let in for
 * one model and run another.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const COLON = 0x3a;
const COMMA = 0x2c;
/** What may stand before the text: white space, byte order marks, and the NULs of wide characters. */
const BEFORE_TEXT = new Set([0x20, 0x0a, 0x0d, 0x09, 0xef, 0xbb, 0xbf, 0xfe, 0xff, 0x00]);

const decoder = new TextDecoder();

/**
 * The values of all members of the outermost object that some reader takes for "model", in their order;
 * `undefined` stands for one that is no string. Empty if the text is no object. The text is scanned and
 * not checked: what comes before a mistake in it is still found.
 */
export function namedModels(json: Uint8Array): (string | undefined)[] {
  const models: (string | undefined)[] = [];
  let at = 0;
  while (BEFORE_TEXT.has(json[at] ?? -1)) at++;
  if (json[at] !== OPEN_BRACE) return models;
  // UTF-16 or UTF-32: not looked into, but Python's reader, for one, would take it.
  if (json[at + 1] === 0 || json[at - 1] === 0) return [undefined];
  let depth = 0;
  let expectsName = false;
  /** A member's name has come, and its value not yet. */
  let expectsModel = false;
  for (; at < json.length; at++) {
    const byte = json[at] ?? 0;
    switch (byte) {
      case OPEN_BRACE:
      case OPEN_BRACKET:
        expectsName = depth++ === 0;
        break;
      case CLOSE_BRACE:
      case CLOSE_BRACKET:
      case COMMA: {
        if (byte !== COMMA) depth--;
        // What closes at depth 1 is a value, which a comma or the end of the object still follows.
        const ended = depth === 0 || (depth === 1 && byte === COMMA);
        if (!ended) break;
        if (expectsModel) models.push(undefined);
        if (depth === 0) return models;
        expectsModel = false;
        expectsName = true;
        break;
      }
      case COLON:
        expectsName = false;
        break;
      case QUOTE: {
        const end = stringEnd(json, at);
        if (end === undefined) return models;
        if (depth === 1 && expectsName) {
          expectsModel = textOf(json, at, end)?.toLowerCase() === "model";
        } else if (depth === 1 && expectsModel) {
          models.push(textOf(json, at, end));
          expectsModel = false;
        }
        at = end - 1;
        break;
      }
      default:
        break;
    }
  }
  return models;
}

/** Index behind the closing quote of the string that begins at `start`. */
function stringEnd(json: Uint8Array, start: number): number | undefined {
  for (let at = start + 1; ; at++) {
    at = json.indexOf(QUOTE, at);
    if (at === -1) return undefined;
    let slashes = 0;
    while (json[at - 1 - slashes] === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return at + 1;
  }
}

function textOf(json: Uint8Array, start: number, end: number): string | undefined {
  try {
    return JSON.parse(decoder.decode(json.subarray(start, end))) as string;
  } catch {
    return undefined;
  }
}
