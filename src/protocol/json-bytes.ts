/**
 * JSON text as bytes, for those who look through it without parsing it (RFC 8259 §2 and §7).
 */
export const QUOTE = 0x22;
export const OPEN_BRACE = 0x7b;
export const CLOSE_BRACE = 0x7d;
export const OPEN_BRACKET = 0x5b;
export const CLOSE_BRACKET = 0x5d;
export const COLON = 0x3a;
export const COMMA = 0x2c;
export const BACKSLASH = 0x5c;
const SPACE = 0x20;
const DELETE = 0x7f;

/** Bytes that are looked at one by one. */
const NEAR = 16;

const decoder = new TextDecoder();

export function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Index behind the closing quote of the string that begins at `start`; `undefined` if it does not end. */
export function stringEnd(json: Uint8Array, start: number): number | undefined {
  for (let at = nextQuote(json, start + 1); at >= 0; at = nextQuote(json, at + 1)) {
    let slashes = 0;
    while (json[at - 1 - slashes] === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return at + 1;
  }
  return undefined;
}

/** Most strings are short, and their ends are nearer than a call of the runtime's own search is fast. */
function nextQuote(json: Uint8Array, from: number): number {
  const far = from + NEAR;
  for (let at = from; at < far; at++) if (json[at] === QUOTE) return at;
  return json.indexOf(QUOTE, far);
}

/** The string at `[start, end)`, quotes included there; `undefined` if its escapes are none. */
export function stringAt(json: Uint8Array, start: number, end: number): string | undefined {
  if (isPlain(json, start + 1, end - 1)) return decoder.decode(json.subarray(start + 1, end - 1));
  try {
    return JSON.parse(decoder.decode(json.subarray(start, end))) as string;
  } catch {
    return undefined;
  }
}

/** Whether text is what it stands for: ASCII, with no escapes and nothing that must be escaped. */
export function isPlain(json: Uint8Array, start: number, end: number): boolean {
  for (let at = start; at < end; at++) {
    const byte = json[at]!;
    if (byte < SPACE || byte >= DELETE || byte === BACKSLASH) return false;
  }
  return true;
}
