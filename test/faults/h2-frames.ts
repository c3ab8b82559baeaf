/** Frames of HTTP/2 (RFC 9113 §6) by hand, right and wrong. */
export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  ping: 6,
  goAway: 7,
  window: 8,
  continuation: 9,
} as const;

export const END_STREAM = 1;
export const END_HEADERS = 4;

export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = Buffer.of(),
): Buffer {
  const start = Buffer.alloc(9);
  start.writeUIntBE(payload.length, 0, 3);
  start.writeUInt8(type, 3);
  start.writeUInt8(flags, 4);
  start.writeUInt32BE(stream, 5);
  return Buffer.concat([start, payload]);
}

/** What a client begins with: the preface (§3.4) and empty settings. */
export const PREFACE = Buffer.concat([
  Buffer.from("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
  frame(TYPE.settings, 0, 0),
]);

export type Field = readonly [name: string, value: string];

/** Fields as HPACK literals that are not remembered (RFC 7541 §6.2.2), in latin1. */
export function fields(list: readonly Field[]): Buffer {
  return Buffer.concat(list.flatMap(([name, value]) => [Buffer.of(0), text(name), text(value)]));
}

/** RFC 7541 §5.2, without Huffman's code. */
export function text(value: string): Buffer {
  const bytes = Buffer.from(value, "latin1");
  if (bytes.length < 127) return Buffer.concat([Buffer.of(bytes.length), bytes]);
  const length = [127];
  let left = bytes.length - 127;
  for (; left > 127; left >>>= 7) length.push(0x80 | (left & 127));
  return Buffer.concat([Buffer.from([...length, left]), bytes]);
}

/** The four fields of a request (RFC 9113 §8.3.1). */
export function request(method: string, path: string): Field[] {
  return [
    [":method", method],
    [":scheme", "https"],
    [":authority", "localhost"],
    [":path", path],
  ];
}

/** A whole head in one frame. */
export function head(list: readonly Field[], flags = END_STREAM | END_HEADERS, stream = 1): Buffer {
  return frame(TYPE.headers, flags, stream, fields(list));
}

export interface Frame {
  type: number;
  stream: number;
  payload: Buffer;
}

/** The frames that are whole in what has come. */
export function framesOf(received: Buffer): Frame[] {
  const frames: Frame[] = [];
  for (let at = 0; at + 9 <= received.length;) {
    const length = received.readUIntBE(at, 3);
    if (at + 9 + length > received.length) break;
    frames.push({
      type: received.readUInt8(at + 3),
      stream: received.readUInt32BE(at + 5),
      payload: received.subarray(at + 9, at + 9 + length),
    });
    at += 9 + length;
  }
  return frames;
}

/** Whether a head begins with `:status: 200`, which is one octet (RFC 7541, Appendix A). */
export const isOk = ({ type, payload }: Frame): boolean => type === TYPE.headers && payload[0] === 0x88;
