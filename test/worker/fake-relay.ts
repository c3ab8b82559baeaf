import { Inbox } from "../support/inbox.ts";

export const SECRET = "fake-relay-secret";

/** One v1 message, as it stands on the wire. */
export type Message = Record<string, unknown> & { type: string };

/** The relay's end of one link; a test says what it says. */
export class FakeLink {
  readonly inbox = new Inbox<Message>();
  readonly closed: Promise<{ code: number; reason: string }>;
  readonly url: URL;
  readonly #socket: Bun.ServerWebSocket<LinkData>;
  #resolveClosed!: (closed: { code: number; reason: string }) => void;

  constructor(socket: Bun.ServerWebSocket<LinkData>) {
    this.#socket = socket;
    this.url = socket.data.url;
    this.closed = new Promise((resolve) => {
      this.#resolveClosed = resolve;
    });
  }

  received(text: string): void {
    this.inbox.put(JSON.parse(text) as Message);
  }

  ended(code: number, reason: string): void {
    this.#resolveClosed({ code, reason });
    this.inbox.close(`the link closed with ${code} ${reason}`);
  }

  /** The next message of a type; for a request, its own. */
  next(type: string, requestId?: string): Promise<Message> {
    return this.inbox.next(
      (message) => message.type === type && (requestId === undefined || message["request_id"] === requestId),
    );
  }

  say(message: Message): void {
    this.#socket.send(JSON.stringify(message));
  }

  raw(text: string): void {
    this.#socket.send(text);
  }

  /** Waits for `register` and acknowledges it. */
  async accept(more: Record<string, unknown> = {}): Promise<Message> {
    const registration = await this.next("register");
    this.say({ type: "register_ack", worker_id: "w1", models: registration["models"], ...more });
    return registration;
  }

  request(id: string, body: unknown, more: Record<string, unknown> = {}): void {
    const { model, stream } = body as { model?: string; stream?: boolean };
    this.say({
      type: "request",
      request_id: id,
      model: model ?? "",
      endpoint_path: "/v1/chat/completions",
      is_streaming: stream === true,
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      ...more,
    });
  }

  cancel(id: string): void {
    this.say({ type: "cancel", request_id: id, reason: "client_disconnect" });
  }

  /** The chunks and the completion of one request. */
  async collect(id: string): Promise<{ text: string; complete: Message }> {
    const complete = await this.next("response_complete", id);
    let text = "";
    for (const message of this.inbox.items) {
      if (message.type === "response_chunk" && message["request_id"] === id) text += String(message["chunk"]);
    }
    return { text, complete };
  }

  /** Stops reading, as a relay whose network is full. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(code: number, reason = ""): void {
    this.#socket.close(code, reason);
  }

  cut(): void {
    this.#socket.terminate();
  }
}

interface LinkData {
  url: URL;
  link: FakeLink | undefined;
}

/** A v1 relay of which a test writes every word. */
export interface FakeRelay extends AsyncDisposable {
  url: string;
  /** Upgrades asked for so far, refused ones too. */
  asked: number;
  secret: string;
  /** Answers every upgrade with this instead, as long as it is set. */
  refusal: (() => Response) | undefined;
  nextLink(): Promise<FakeLink>;
}

export function startFakeRelay(): FakeRelay {
  const links = new Inbox<FakeLink>();
  const server = Bun.serve<LinkData>({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request, self) {
      relay.asked++;
      if (relay.refusal !== undefined) return relay.refusal();
      if (request.headers.get("x-worker-secret") !== relay.secret) return new Response("no", { status: 401 });
      const data = { url: new URL(request.url), link: undefined };
      return self.upgrade(request, { data }) ? undefined : new Response("upgrade", { status: 426 });
    },
    websocket: {
      maxPayloadLength: 64 * 1024 * 1024,
      open(socket) {
        socket.data.link = new FakeLink(socket);
        links.put(socket.data.link);
      },
      message: (socket, message) => socket.data.link?.received(String(message)),
      close: (socket, code, reason) => socket.data.link?.ended(code, reason),
    },
  });
  const relay: FakeRelay = {
    url: `http://127.0.0.1:${server.port}`,
    asked: 0,
    secret: SECRET,
    refusal: undefined,
    nextLink: () => links.next(),
    async [Symbol.asyncDispose]() {
      await server.stop(true);
    },
  };
  return relay;
}
