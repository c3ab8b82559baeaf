/** Writes DER (X.690): a tag and its length before the contents, which are DER or raw octets. */
export function der(tag: number, ...contents: readonly Uint8Array[]): Buffer {
  const content = Buffer.concat(contents);
  const { length } = content;
  if (length < 0x80) return Buffer.concat([Buffer.of(tag, length), content]);
  const octets = length > 0xffff ? 3 : length > 0xff ? 2 : 1;
  const head = Buffer.alloc(2 + octets);
  head.writeUInt8(tag, 0);
  head.writeUInt8(0x80 | octets, 1);
  head.writeUIntBE(length, 2, octets);
  return Buffer.concat([head, content]);
}

export const sequence = (...contents: readonly Uint8Array[]): Buffer => der(0x30, ...contents);

export const setOf = (content: Uint8Array): Buffer => der(0x31, content);

/** A whole number of at least one octet that is not negative, from its octets, highest first. */
export function integer(octets: Uint8Array): Buffer {
  const first = octets.findIndex((octet) => octet !== 0);
  const significant = first < 0 ? Buffer.of(0) : octets.subarray(first);
  return der(0x02, (significant[0] ?? 0) > 0x7f ? Buffer.of(0) : Buffer.of(), significant);
}

/** An object identifier such as `2.5.29.17`. */
export function identifier(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return der(0x06, Buffer.from([40 * first + second, ...rest].flatMap(base128)));
}

function base128(value: number): number[] {
  const octets = [value & 0x7f];
  for (let left = value >>> 7; left > 0; left >>>= 7) octets.unshift(0x80 | (left & 0x7f));
  return octets;
}

export const utf8 = (text: string): Buffer => der(0x0c, Buffer.from(text));

export const octetString = (content: Uint8Array): Buffer => der(0x04, content);

/** A string of whole octets. */
export const bitString = (content: Uint8Array): Buffer => der(0x03, Buffer.of(0), content);

export const boolean = (value: boolean): Buffer => der(0x01, Buffer.of(value ? 0xff : 0));

/** A time in whole seconds, in the form that RFC 5280 §4.1.2.5 asks for in its year. */
export function time(ms: number): Buffer {
  const text = new Date(ms).toISOString().replace(/[-:T]|\.\d+/g, "");
  const year = Number(text.slice(0, 4));
  return year >= 1950 && year < 2050 ? der(0x17, Buffer.from(text.slice(2))) : der(0x18, Buffer.from(text));
}
