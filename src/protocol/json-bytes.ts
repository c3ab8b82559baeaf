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
const BACKSLASH = 0x5c;

const decoder = new TextDecoder();

export function isSpace(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x0a || byte === 0x0d || byte === 0x09;
}

/** Index behind the closing quote of the string that begins at `start`; `undefined` if it does not end. */
export function stringEnd(json: Uint8Array, start: number): number | undefined {
  for (let at = start + 1; ; at++) {
    at = json.indexOf(QUOTE, at);
    if (at === -1) return undefined;
    let slashes = 0;
    while (json[at - 1 - slashes] === BACKSLASH) slashes++;
    if (slashes % 2 === 0) return at + 1;
  }
}

/** The string at `[start, end)`, quotes included there; `undefined` if its escapes are none. */
export function stringAt(json: Uint8Array, start: number, end: number): string | undefined {
  try {
    return JSON.parse(decoder.decode(json.subarray(start, end))) as string;
  } catch {
    return undefined;
  }
}
