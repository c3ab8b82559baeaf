import { Inbox } from "./inbox.ts";

/** One v1 message, as it stands on the wire. */
export type Message = Record<string, unknown> & { type: string };

export interface Closed {
  code: number;
  reason: string;
}

/** What a raw worker needs of its connection. */
export interface RawSocket {
  send(message: string | Uint8Array<ArrayBuffer>): void;
  close(code?: number, reason?: string): void;
  /** Cuts without a goodbye. */
  cut(): void;
}

/** Versions of the link that a raw worker can speak. */
export type LinkVersion = "v1" | "v2";

/** A worker that says exactly what a test tells it to, right or wrong; this one in v1. */
export class RawWorker {
  readonly version: LinkVersion = "v1";
  readonly inbox = new Inbox<Message>();
  readonly closed: Promise<Closed>;
  #socket!: RawSocket;
  #resolveClosed!: (closed: Closed) => void;

  constructor() {
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  attach(socket: RawSocket): void {
    this.#socket = socket;
  }

  received(message: string | Uint8Array): void {
    if (typeof message !== "string") throw new Error("A binary message came over v1");
    this.inbox.put(JSON.parse(message) as Message);
  }

  ended(closed: Closed): void {
    this.#resolveClosed(closed);
    this.inbox.close(`the link closed with ${closed.code} ${closed.reason}`);
  }

  say(message: Message): void {
    this.#socket.send(JSON.stringify(message));
  }

  raw(message: string | Uint8Array<ArrayBuffer>): void {
    this.#socket.send(message);
  }

  close(): void {
    this.#socket.close(1000, "done");
  }

  cut(): void {
    this.#socket.cut();
  }

  /** The next message of a type. */
  next(type: string): Promise<Message> {
    return this.inbox.next((message) => message.type === type);
  }

  async register(models: string[], more: Record<string, unknown> = {}): Promise<Message> {
    this.say({
      type: "register",
      worker_name: "raw",
      models,
      max_concurrent: 1,
      protocol_version: "2026-04-bridge-v1",
      ...more,
    });
    return this.next("register_ack");
  }

  /** @param contentType of the answer, where the first chunk can say it */
  chunk(request: Message, text: string, contentType?: string): void {
    void contentType;
    this.say({ type: "response_chunk", request_id: request["request_id"], chunk: text });
  }

  complete(
    request: Message,
    status = 200,
    body?: string,
    headers: Record<string, string> = { "content-type": "application/json" },
  ): void {
    this.say({
      type: "response_complete",
      request_id: request["request_id"],
      status_code: status,
      ...(body !== undefined && { body, headers }),
    });
  }
}
