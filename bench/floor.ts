import { HttpClient } from "../src/worker/http/http-client.ts";
import { systemClock } from "../src/base/clock.ts";

/**
 * The least that a relay and a worker on this runtime can be: `Bun.serve`, one WebSocket and the worker's
 * HTTP client, with nothing in between. It looks into no body, knows no model, key, queue, limit or window,
 * cancels nothing and resumes nothing. What it costs is the runtime's and the system's; what the real ones
 * cost beyond it is their own doing, and is what can be made less.
 *
 * Usage: `bun bench/floor.ts relay PORT`, `bun bench/floor.ts worker RELAY_PORT BACKEND_URL`
 */

/** Of a frame: 4 bytes request, 4 bytes length of the payload with the kind in the topmost byte. */
const HEADER_BYTES = 8;
const REQUEST = 0;
const BODY = 1;
const END = 2;

type Bytes = Uint8Array<ArrayBuffer>;

/** Gathers the frames of one turn into one message. */
function frameWriter(send: (message: Bytes) => void) {
  let waiting: Bytes[] = [];
  return (request: number, kind: number, payload: Uint8Array): void => {
    const frame = new Uint8Array(HEADER_BYTES + payload.length);
    const view = new DataView(frame.buffer);
    view.setUint32(0, request);
    view.setUint32(4, (kind << 24) | payload.length);
    frame.set(payload, HEADER_BYTES);
    if (waiting.push(frame) > 1) return;
    setImmediate(() => {
      const [only] = waiting;
      send(waiting.length === 1 && only !== undefined ? only : Buffer.concat(waiting));
      waiting = [];
    });
  };
}

function readFrames(message: Bytes, handle: (request: number, kind: number, payload: Bytes) => void): void {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength);
  for (let at = 0; at < message.length;) {
    const size = view.getUint32(at + 4);
    const end = at + HEADER_BYTES + (size & 0xff_ffff);
    handle(view.getUint32(at), size >>> 24, message.subarray(at + HEADER_BYTES, end));
    at = end;
  }
}

/** An answer: whole if its end comes with its first bytes, else a stream. */
class Answer {
  readonly response: Promise<Response>;
  #resolve!: (response: Response) => void;
  #first: Bytes | undefined;
  #stream: { write(bytes: Bytes): void; end(): void } | undefined;
  readonly #done = Promise.withResolvers<void>();

  constructor() {
    this.response = new Promise((resolve) => {
      this.#resolve = resolve;
    });
  }

  body(bytes: Bytes): void {
    if (this.#stream !== undefined) return this.#stream.write(bytes);
    if (this.#first !== undefined) {
      this.#first = Buffer.concat([this.#first, bytes]);
      return;
    }
    this.#first = bytes;
    queueMicrotask(() => this.#open());
  }

  end(): void {
    if (this.#stream === undefined && this.#first !== undefined) {
      const whole = this.#first;
      this.#first = undefined;
      return this.#resolve(new Response(whole, { headers: { "content-type": "application/json" } }));
    }
    this.#stream?.end();
    this.#done.resolve();
  }

  #open(): void {
    const first = this.#first;
    if (first === undefined) return;
    const source = {
      type: "direct",
      pull: (controller: { write(bytes: Bytes): void; end(): void }) => {
        this.#stream = controller;
        controller.write(this.#first ?? first);
        return this.#done.promise;
      },
    };
    const headers = { "content-type": "text/event-stream" };
    this.#resolve(new Response(new ReadableStream(source as never), { headers }));
  }
}

function relay(port: number): void {
  const answers = new Map<number, Answer>();
  let last = 0;
  let send: ReturnType<typeof frameWriter> | undefined;
  Bun.serve({
    hostname: "127.0.0.1",
    port,
    idleTimeout: 0,
    development: false,
    async fetch(request, server) {
      if (request.headers.has("upgrade")) return server.upgrade(request) ? undefined : new Response();
      const body = new Uint8Array(await request.arrayBuffer());
      const answer = new Answer();
      answers.set(++last, answer);
      send?.(last, REQUEST, body);
      return answer.response;
    },
    websocket: {
      perMessageDeflate: false,
      open(socket) {
        send = frameWriter((message) => void socket.sendBinary(message));
      },
      message(_socket, message) {
        readFrames(message as Buffer<ArrayBuffer>, (request, kind, payload) => {
          const answer = answers.get(request);
          if (kind === BODY) return answer?.body(payload);
          answers.delete(request);
          answer?.end();
        });
      },
    },
  });
}

function worker(relayPort: string, backend: URL): void {
  const client = new HttpClient(backend, systemClock);
  const socket = new WebSocket(`ws://127.0.0.1:${relayPort}/`);
  socket.binaryType = "arraybuffer";
  const send = frameWriter((message) => socket.send(message));
  const nothing = new Uint8Array(0);
  socket.addEventListener("message", ({ data }) => {
    readFrames(new Uint8Array(data as ArrayBuffer), (request, _kind, body) => {
      const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: ${backend.host}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
      client.request(head, body, false, {
        head() {},
        body: (bytes) => send(request, BODY, bytes),
        end: () => send(request, END, nothing),
        failed: () => send(request, END, nothing),
      });
    });
  });
}

const [role, port = "", backend = ""] = process.argv.slice(2);
if (role === "relay") relay(Number(port));
else worker(port, new URL(backend));
