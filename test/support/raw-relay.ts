import { constants, inflateRawSync } from "node:zlib";
import { Inbox } from "./inbox.ts";
import type { Closed, LinkVersion, Message } from "./raw-worker.ts";
import { frameOf, number32, number64, takeFrames, TYPE, type RawFrame } from "./raw-worker-v2.ts";
import { SECRET } from "./relays.ts";

/** What a worker answered to one request. */
export interface RawAnswer {
  status: number;
  headers: Record<string, string>;
  body: Buffer;
  /** Said of an answer that did not come whole, or not at all; v2 alone. */
  failure: Record<string, unknown> | undefined;
}

interface LinkData {
  link: RawLink;
}

type Socket = Bun.ServerWebSocket<LinkData>;

/** What is to be sent to a worker as a request. */
export interface RawRequest {
  model?: string;
  method?: string;
  path?: string;
  streaming?: boolean;
  body?: string | Uint8Array;
}

/** A relay's end of one link, of which a test says every word; in v1 or v2, with a codec of its own. */
export class RawLink {
  readonly inbox = new Inbox<Message>();
  readonly closed: Promise<Closed>;
  readonly version: LinkVersion;
  /** Whether it acknowledges what comes, and asks for more of what it has taken. */
  acknowledges = true;
  /** Packed frames that have come. */
  packed = 0;
  #socket!: Socket;
  #resolveClosed!: (closed: Closed) => void;
  #held: Buffer = Buffer.alloc(0);
  #packedIn: Buffer = Buffer.alloc(0);
  #unpackedIn = 0;
  #session: SessionState;

  constructor(version: LinkVersion) {
    this.version = version;
    this.#session = { numbers: new Map(), ids: new Map(), kept: [], acknowledged: 0, received: 0 };
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  attach(socket: Socket): void {
    this.#socket = socket;
  }

  ended(closed: Closed): void {
    this.#resolveClosed(closed);
    this.inbox.close(`the link closed with ${closed.code} ${closed.reason}`);
  }

  /** The next message of a type; for a request, its own. */
  next(type: string, requestId?: string): Promise<Message> {
    return this.inbox.next(
      (message) => message.type === type && (requestId === undefined || message["request_id"] === requestId),
    );
  }

  /** Waits for `register` and acknowledges it. */
  async accept(more: Record<string, unknown> = {}): Promise<Message> {
    const registration = await this.next("register");
    this.say({
      type: "register_ack",
      worker_id: "w1",
      models: registration["models"],
      protocol_version: this.version === "v1" ? "2026-04-bridge-v1" : "modelrelay.v2",
      ...(this.version === "v2" && { session: "s".repeat(32), grace_ms: 10_000 }),
      ...more,
    });
    return registration;
  }

  request(id: string, { model = "m", method, path, streaming = false, body }: RawRequest = {}): void {
    const bytes = Buffer.from(body ?? JSON.stringify({ model, id, stream: streaming }));
    const headers = { "content-type": "application/json" };
    const endpoint = path ?? "/v1/chat/completions";
    if (this.version === "v1")
      return this.say({
        type: "request",
        request_id: id,
        model,
        endpoint_path: endpoint,
        is_streaming: streaming,
        headers,
        body: bytes.toString(),
      });
    const number = this.#session.numbers.size + 1;
    this.#session.numbers.set(id, number);
    this.#session.ids.set(number, id);
    this.frame(TYPE.request, number, {
      request_id: id,
      model,
      method: method ?? "POST",
      path: endpoint,
      ...(streaming && { is_streaming: true }),
      headers,
      body_bytes: bytes.length,
    });
    for (let at = 0; at < bytes.length; at += 65_536)
      this.frame(TYPE.body, number, bytes.subarray(at, at + 65_536));
    if (bytes.length > 0) this.frame(TYPE.end, number);
  }

  cancel(id: string): void {
    if (this.version === "v1")
      return this.say({ type: "cancel", request_id: id, reason: "client_disconnect" });
    this.frame(TYPE.cancel, this.numberOf(id), { reason: "client_disconnect" });
  }

  /** Waits for the load that the worker says. */
  async ping(): Promise<number> {
    if (this.version === "v1") this.say({ type: "ping", timestamp_unix_ms: 7 });
    else this.frame(TYPE.ping, 0, number64(7));
    const pong = await this.next("pong");
    if (pong["timestamp_unix_ms"] !== 7) throw new Error(`The worker answered ${JSON.stringify(pong)}`);
    return pong["current_load"] as number;
  }

  /** The answer to a request, once it is whole. */
  async answer(id: string): Promise<RawAnswer> {
    const complete = await this.next("response_complete", id);
    const parts: Buffer[] = [];
    for (const message of this.inbox.items) {
      if (message.type === "response_chunk" && message["request_id"] === id)
        parts.push(Buffer.from(message["chunk"] as string | Buffer));
    }
    const { status_code: status, headers = {}, body = "", failure } = complete;
    return {
      status: status as number,
      headers: headers as Record<string, string>,
      body: Buffer.concat([...parts, Buffer.from(body as string)]),
      failure: failure as Record<string, unknown> | undefined,
    };
  }

  say(message: Message): void {
    if (this.version === "v1") this.raw(JSON.stringify(message));
    else this.frame(TYPE.control, 0, message);
  }

  raw(message: string | Uint8Array): void {
    this.#socket.send(message);
  }

  frame(type: number, request: number, payload?: Uint8Array | object): void {
    const bytes = frameOf(type, request, payload);
    if (type < 0x80) this.#session.kept.push(bytes);
    this.raw(bytes);
  }

  numberOf(id: string): number {
    const number = this.#session.numbers.get(id);
    if (number === undefined) throw new Error(`There is no request "${id}"`);
    return number;
  }

  /** Goes on with the session of a link that was cut, as its worker has just asked. */
  async goOn(before: RawLink): Promise<Message> {
    const asked = await this.next("resume");
    this.#session = before.#session;
    this.#acknowledged(asked["received"] as number);
    this.frame(TYPE.resumed, 0, { received: this.#session.received });
    for (const bytes of this.#session.kept) this.raw(bytes);
    return asked;
  }

  close(code: number, reason = ""): void {
    this.#socket.close(code, reason);
  }

  cut(): void {
    this.#socket.terminate();
  }

  received(message: string | Buffer): void {
    if (this.version === "v1") return this.inbox.put(JSON.parse(String(message)) as Message);
    if (typeof message === "string") throw new Error("A text message came over v2");
    const before = this.#session.received;
    this.#held = takeFrames(Buffer.concat([this.#held, message]), (frame) => this.#take(frame));
    if (this.acknowledges && this.#session.received > before)
      this.frame(TYPE.ack, 0, number64(this.#session.received));
  }

  #take({ type, request, payload }: RawFrame): void {
    if (type < 0x80) this.#session.received++;
    const request_id = this.#session.ids.get(request);
    const json = () => JSON.parse(payload.toString()) as Record<string, unknown>;
    switch (type) {
      case TYPE.control:
        return this.inbox.put(json() as Message);
      case TYPE.resume:
        return this.inbox.put({ ...json(), type: "resume" });
      case TYPE.head:
        return this.inbox.put({ ...json(), type: "head", request_id });
      case TYPE.body:
        if (this.acknowledges) this.frame(TYPE.credit, request, number32(payload.length));
        return this.inbox.put({ type: "response_chunk", request_id, chunk: Buffer.from(payload) });
      case TYPE.end: {
        const head = this.inbox.items.find(
          (message) => message.type === "head" && message["request_id"] === request_id,
        );
        return this.inbox.put({
          type: "response_complete",
          request_id,
          status_code: head?.["status"],
          headers: head?.["headers"],
        });
      }
      case TYPE.fail: {
        const failure = json();
        return this.inbox.put({
          type: "response_complete",
          request_id,
          status_code: failure["status"],
          failure,
        });
      }
      case TYPE.credit:
        return this.inbox.put({ type: "credit", request_id, bytes: payload.readUInt32BE() });
      case TYPE.ack:
        return this.#acknowledged(Number(payload.readBigUInt64BE()));
      case TYPE.pong:
        return this.inbox.put({
          type: "pong",
          current_load: payload.readUInt32BE(),
          timestamp_unix_ms: Number(payload.readBigUInt64BE(4)),
        });
      case TYPE.packed: {
        this.packed++;
        this.#packedIn = Buffer.concat([this.#packedIn, payload]);
        const plain = inflateRawSync(this.#packedIn, { finishFlush: constants.Z_SYNC_FLUSH });
        takeFrames(plain.subarray(this.#unpackedIn), (frame) => this.#take(frame));
        this.#unpackedIn = plain.length;
        return;
      }
      default:
        throw new Error(`The worker sent a frame of type ${type}`);
    }
  }

  #acknowledged(count: number): void {
    this.#session.kept.splice(0, count - this.#session.acknowledged);
    this.#session.acknowledged = count;
  }
}

/** What outlives a connection. */
interface SessionState {
  numbers: Map<string, number>;
  ids: Map<number, string>;
  kept: Buffer[];
  acknowledged: number;
  received: number;
}

/** A relay of which a test writes every word. One of v1 knows no subprotocol, as older relays. */
export interface RawRelay extends AsyncDisposable {
  url: string;
  version: LinkVersion;
  /** The next link on which a worker has said something. */
  nextLink(): Promise<RawLink>;
}

export function startRawRelay(version: LinkVersion): RawRelay {
  const links = new Inbox<RawLink>();
  const speaking = new Set<RawLink>();
  const server = Bun.serve<LinkData>({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request, self) {
      if (request.headers.get("x-worker-secret") !== SECRET) return new Response("no", { status: 401 });
      const upgraded = self.upgrade(request, {
        data: { link: new RawLink(version) },
        headers: { "sec-websocket-protocol": version === "v2" ? "modelrelay.v2" : "" },
      });
      return upgraded ? undefined : new Response("upgrade", { status: 426 });
    },
    websocket: {
      maxPayloadLength: 64 * 1024 * 1024,
      open: (socket) => socket.data.link.attach(socket),
      message(socket, message) {
        const { link } = socket.data;
        if (!speaking.has(link)) links.put(link);
        speaking.add(link);
        link.received(message);
      },
      close: (socket, code, reason) => socket.data.link.ended({ code, reason }),
    },
  });
  return {
    url: `http://127.0.0.1:${server.port}`,
    version,
    nextLink: () => links.next(),
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}
