import { FRAME, HEADER_BYTES, writeHeader } from "../../src/protocol/frames.ts";

export type Bytes = Uint8Array<ArrayBuffer>;

/** One frame as it stands on the wire. */
export function frameOf(type: number, request = 0, payload: Uint8Array = new Uint8Array(0)): Bytes {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  writeHeader(bytes, 0, type, request, payload.length);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

export function jsonFrame(type: number, request: number, value: unknown): Bytes {
  return frameOf(type, request, Buffer.from(JSON.stringify(value)));
}

export function creditFrame(request: number, bytes: number): Bytes {
  const payload = Buffer.alloc(4);
  payload.writeUInt32BE(bytes);
  return frameOf(FRAME.credit, request, payload);
}

export function ackFrame(count: number | bigint): Bytes {
  const payload = Buffer.alloc(8);
  payload.writeBigUInt64BE(BigInt(count));
  return frameOf(FRAME.ack, 0, payload);
}

export function joined(parts: readonly Uint8Array[]): Bytes {
  return new Uint8Array(Buffer.concat(parts));
}

/** A frame that was taken out of bytes. */
export interface Taken {
  type: number;
  request: number;
  payload: Bytes;
}

/**
 * The frames of whole bytes, taken out as the specification says and by no code of the program; what
 * is left of an unfinished one is not told.
 */
export function framesIn(bytes: Uint8Array): Taken[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: Taken[] = [];
  for (let at = 0; at + 8 <= bytes.length;) {
    const length = view.getUint32(at) >>> 8;
    if (at + 8 + length > bytes.length) break;
    frames.push({
      type: view.getUint8(at + 3),
      request: view.getUint32(at + 4),
      payload: new Uint8Array(bytes.slice(at + 8, at + 8 + length)),
    });
    at += 8 + length;
  }
  return frames;
}

/** A valid registration. */
export const REGISTER = jsonFrame(FRAME.control, 0, {
  type: "register",
  worker_name: "w",
  models: ["m"],
  max_concurrent: 8,
  protocol_version: "modelrelay.v2",
  window: 16_384,
});

/** An acceptance of it. */
export const REGISTER_ACK = jsonFrame(FRAME.control, 0, {
  type: "register_ack",
  worker_id: "w_1",
  models: ["m"],
  protocol_version: "modelrelay.v2",
  session: "s",
  grace_ms: 15_000,
  window: 16_384,
});

/** A request with a body of so many bytes to come. */
export function requestFrame(number: number, bodyBytes: number, id = `r${number}`): Bytes {
  return jsonFrame(FRAME.request, number, {
    request_id: id,
    model: "m",
    method: "POST",
    path: "/v1/chat/completions",
    is_streaming: true,
    headers: { "content-type": "application/json" },
    body_bytes: bodyBytes,
  });
}

export function headFrame(number: number, status = 200): Bytes {
  return jsonFrame(FRAME.head, number, { status, headers: { "content-type": "text/event-stream" } });
}
