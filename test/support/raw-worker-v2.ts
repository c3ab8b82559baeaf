import { constants, deflateRawSync, inflateRawSync } from "node:zlib";
import { RawWorker, type Message } from "./raw-worker.ts";

/** Frame types, as docs/protocol.md lists them. Written down once more, so that a slip in either shows. */
export const TYPE = {
  control: 0x01,
  request: 0x02,
  head: 0x03,
  body: 0x04,
  end: 0x05,
  fail: 0x06,
  cancel: 0x07,
  credit: 0x08,
  ack: 0x80,
  ping: 0x81,
  pong: 0x82,
  resume: 0x83,
  resumed: 0x84,
  refused: 0x85,
  packed: 0x86,
} as const;

const LARGEST_BODY = 65_536;
const FIRST_UNCOUNTED = 0x80;

/** One frame: three bytes of length, the type, four of the request, the payload. */
export function frameOf(
  type: number,
  request: number,
  payload: Uint8Array | object = new Uint8Array(0),
): Buffer {
  const bytes = payload instanceof Uint8Array ? payload : Buffer.from(JSON.stringify(payload));
  const frame = Buffer.alloc(8 + bytes.length);
  frame.writeUIntBE(bytes.length, 0, 3);
  frame.writeUInt8(type, 3);
  frame.writeUInt32BE(request, 4);
  frame.set(bytes, 8);
  return frame;
}

export function number32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

export function number64(value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64BE(BigInt(value));
  return bytes;
}

/** A frame as it came. */
export interface RawFrame {
  type: number;
  request: number;
  payload: Buffer;
}

/** Takes whole frames off the front of what has come. @returns what is left */
export function takeFrames(held: Buffer, take: (frame: RawFrame) => void): Buffer {
  let rest = held;
  while (rest.length >= 8 && rest.length >= 8 + rest.readUIntBE(0, 3)) {
    const end = 8 + rest.readUIntBE(0, 3);
    take({ type: rest.readUInt8(3), request: rest.readUInt32BE(4), payload: rest.subarray(8, end) });
    rest = rest.subarray(end);
  }
  return rest;
}

function json(payload: Buffer): Record<string, unknown> {
  return JSON.parse(payload.toString()) as Record<string, unknown>;
}

/** A request whose body may still be coming. */
interface Asked {
  id: string;
  fields: Record<string, unknown>;
  parts: Buffer[];
  /** The head of its answer has been sent. */
  begun: boolean;
}

/** What outlives a connection. */
interface SessionState {
  session: string;
  asked: Map<number, Asked>;
  numbers: Map<string, number>;
  /** Counted frames that were sent and not acknowledged, oldest first, and how many were before them. */
  kept: Buffer[];
  acknowledged: number;
  received: number;
}

function newSession(): SessionState {
  return {
    session: "",
    asked: new Map(),
    numbers: new Map(),
    kept: [],
    acknowledged: 0,
    received: 0,
  };
}

/**
 * A worker of version 2 whose codec is its own. It hears and says the messages of v1, so that one promise
 * can be tested over both versions, and what only v2 has besides.
 */
export class RawWorkerV2 extends RawWorker {
  override readonly version = "v2";
  /** Whether it acknowledges what comes, and asks for more of a body that it has taken. */
  acknowledges = true;
  /** Packed frames that have come. */
  packed = 0;
  /** What was packed on this connection: as it came, and as it was before it left. */
  #packedIn: Buffer = Buffer.alloc(0);
  #unpackedIn = 0;
  #packedOut: Buffer = Buffer.alloc(0);
  #held: Buffer = Buffer.alloc(0);
  #resuming = false;
  #state = newSession();

  /** Counted frames that have come. */
  get receivedFrames(): number {
    return this.#state.received;
  }

  /** Counted frames that were sent and that the relay has not acknowledged. */
  get unacknowledged(): number {
    return this.#state.kept.length;
  }

  get sessionId(): string {
    return this.#state.session;
  }

  override received(message: string | Uint8Array): void {
    if (typeof message === "string") throw new Error(`A text message came over v2: ${message.slice(0, 80)}`);
    const before = this.#state.received;
    this.#held = takeFrames(Buffer.concat([this.#held, message]), (frame) => this.#take(frame));
    if (this.acknowledges && this.#state.received > before)
      this.frame(TYPE.ack, 0, number64(this.#state.received));
  }

  /** The number of a request that was given to this worker. */
  numberOf(id: unknown): number {
    const number = this.#state.numbers.get(String(id));
    if (number === undefined) throw new Error(`This worker was given no request "${String(id)}"`);
    return number;
  }

  frame(type: number, request: number, payload?: Uint8Array | object): void {
    const bytes = frameOf(type, request, payload);
    if (type < FIRST_UNCOUNTED) this.#state.kept.push(bytes);
    this.raw(new Uint8Array(bytes));
  }

  /** Counted frames that leave within one packed frame. */
  pack(...frames: [type: number, request: number, payload?: Uint8Array | object][]): void {
    const all = frames.map((frame) => frameOf(...frame));
    this.#state.kept.push(...all);
    const plain = Buffer.concat(all);
    const before = this.#packedOut.subarray(-32_768);
    const payload = deflateRawSync(plain, {
      finishFlush: constants.Z_SYNC_FLUSH,
      ...(before.length > 0 && { dictionary: before }),
    });
    this.#packedOut = Buffer.concat([this.#packedOut, plain]);
    this.frame(TYPE.packed, 0, payload);
  }

  /** Frames that leave in one message. */
  frames(...frames: [type: number, request: number, payload?: Uint8Array | object][]): void {
    const all = frames.map((frame) => frameOf(...frame));
    all.forEach((bytes, index) => {
      if (frames[index]![0] < FIRST_UNCOUNTED) this.#state.kept.push(bytes);
    });
    this.raw(new Uint8Array(Buffer.concat(all)));
  }

  /** Writes a counted frame that never leaves, as if the connection had been dead already. */
  lose(type: number, request: number, payload?: Uint8Array | object): void {
    this.#state.kept.push(frameOf(type, request, payload));
  }

  /** Any bytes, in frames as large as may be. */
  body(request: Message, bytes: Uint8Array): void {
    const number = this.numberOf(request["request_id"]);
    for (let at = 0; at < bytes.length; at += LARGEST_BODY)
      this.frame(TYPE.body, number, bytes.subarray(at, at + LARGEST_BODY));
  }

  head(request: Message, status: number, headers: Record<string, string> = {}): void {
    const number = this.numberOf(request["request_id"]);
    this.#state.asked.get(number)!.begun = true;
    this.frame(TYPE.head, number, { status, headers });
  }

  end(request: Message): void {
    this.frame(TYPE.end, this.numberOf(request["request_id"]));
  }

  override chunk(request: Message, text: string, contentType = "text/event-stream"): void {
    const { request_id: id } = request;
    this.say({
      type: "response_chunk",
      request_id: id,
      chunk: text,
      headers: { "content-type": contentType },
    });
  }

  /** Asks to go on with the session of a worker whose connection is lost; `resumed` or `refused` comes. */
  goOn(before: RawWorkerV2, more: Record<string, unknown> = {}): Promise<Message> {
    this.#state = before.#state;
    this.#resuming = true;
    this.frame(TYPE.resume, 0, { session: this.#state.session, received: this.#state.received, ...more });
    return this.inbox.next(({ type }) => type === "resumed" || type === "refused");
  }

  /** Says a message of v1 in frames; one that v2 has not becomes a control frame. */
  override say(message: Message): void {
    switch (message.type) {
      case "pong":
        return this.frame(
          TYPE.pong,
          0,
          Buffer.concat([number32(message["current_load"] as number), Buffer.alloc(8)]),
        );
      case "response_chunk":
        return this.#sayChunk(message);
      case "response_complete":
        return this.#sayComplete(message);
      case "error":
        if (message["request_id"] !== undefined) return this.#sayFail(message, 502);
        return this.frame(TYPE.control, 0, message);
      case "register":
        return this.frame(TYPE.control, 0, { ...message, protocol_version: "modelrelay.v2" });
      default:
        return this.frame(TYPE.control, 0, message);
    }
  }

  #sayChunk(message: Message): void {
    const { chunk, status_code: status = 200, headers = {} } = message;
    this.#begin(message, status as number, headers as Record<string, string>);
    this.body(message, Buffer.from(String(chunk)));
  }

  #sayComplete(message: Message): void {
    const { status_code: status, headers = {}, body = "" } = message;
    const { begun } = this.#state.asked.get(this.numberOf(message["request_id"]))!;
    if (begun && (status as number) >= 400)
      return this.#sayFail({ ...message, message: body }, status as number);
    this.#begin(message, status as number, headers as Record<string, string>);
    if (!begun) this.body(message, Buffer.from(String(body)));
    this.end(message);
  }

  #sayFail({ request_id: id, message }: Message, status: number): void {
    const code = "backend_unreachable";
    this.frame(TYPE.fail, this.numberOf(id), { status, code, message, origin: "worker" });
  }

  #begin(message: Message, status: number, headers: Record<string, string>): void {
    if (!this.#state.asked.get(this.numberOf(message["request_id"]))!.begun)
      this.head(message, status, headers);
  }

  #take({ type, request, payload }: RawFrame): void {
    if (type < FIRST_UNCOUNTED) this.#state.received++;
    const asked = this.#state.asked.get(request);
    switch (type) {
      case TYPE.control: {
        const fields = json(payload) as Message;
        if (fields.type === "register_ack") this.#state.session = String(fields["session"]);
        return this.inbox.put(fields);
      }
      case TYPE.request: {
        const fields = json(payload);
        const id = String(fields["request_id"]);
        const begun: Asked = { id, fields, parts: [], begun: false };
        this.#state.asked.set(request, begun);
        this.#state.numbers.set(id, request);
        if (fields["body_bytes"] === 0) this.#tellRequest(request, begun);
        return;
      }
      case TYPE.body:
        asked!.parts.push(Buffer.from(payload));
        if (this.acknowledges) this.frame(TYPE.credit, request, number32(payload.length));
        else this.inbox.put({ type: "part", request_id: asked!.id, number: request, bytes: payload.length });
        return;
      case TYPE.end:
        return this.#tellRequest(request, asked!);
      case TYPE.cancel:
        return this.inbox.put({ ...json(payload), type: "cancel", request_id: asked!.id });
      case TYPE.credit:
        return this.inbox.put({ type: "credit", request_id: asked!.id, bytes: payload.readUInt32BE() });
      case TYPE.ack:
        return this.#acknowledged(Number(payload.readBigUInt64BE()));
      case TYPE.ping:
        return this.inbox.put({ type: "ping", timestamp_unix_ms: Number(payload.readBigUInt64BE()) });
      case TYPE.resumed:
        return this.#resumed(json(payload));
      case TYPE.packed: {
        // All payloads are one stream: read it from its beginning, and take what is new.
        this.packed++;
        this.#packedIn = Buffer.concat([this.#packedIn, payload]);
        const plain = inflateRawSync(this.#packedIn, { finishFlush: constants.Z_SYNC_FLUSH });
        const rest = takeFrames(plain.subarray(this.#unpackedIn), (frame) => this.#take(frame));
        if (rest.length > 0) throw new Error("A packed frame does not hold whole frames");
        this.#unpackedIn = plain.length;
        return;
      }
      case TYPE.refused:
        this.#resuming = false;
        this.#state = newSession();
        return this.inbox.put({ ...json(payload), type: "refused" });
      default:
        throw new Error(`The relay sent a frame of type ${type}`);
    }
  }

  #acknowledged(count: number): void {
    this.#state.kept.splice(0, count - this.#state.acknowledged);
    this.#state.acknowledged = count;
  }

  /** Sends again what the relay has not had. */
  #resumed(fields: Record<string, unknown>): void {
    if (!this.#resuming) throw new Error("The relay goes on with a session that nobody asked for");
    this.#resuming = false;
    this.#acknowledged(Number(fields["received"]));
    for (const bytes of this.#state.kept) this.raw(new Uint8Array(bytes));
    this.inbox.put({ ...fields, type: "resumed" });
  }

  #tellRequest(number: number, { fields, parts }: Asked): void {
    const bytes = Buffer.concat(parts);
    this.inbox.put({
      ...fields,
      type: "request",
      endpoint_path: fields["path"],
      is_streaming: fields["is_streaming"] === true,
      body: bytes.toString(),
      bytes,
      number,
    });
  }
}
