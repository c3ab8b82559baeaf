import type { RelayCodec, RelayEvents, ResponseWriter, WorkerCodec } from "../../src/protocol/link.ts";
import { ProtocolError, type LinkRequest } from "../../src/protocol/messages.ts";
import { createV2RelayCodec } from "../../src/protocol/v2-relay.ts";
import { createV2WorkerCodec } from "../../src/protocol/v2-worker.ts";
import { framesIn, joined, REGISTER, REGISTER_ACK, type Bytes, type Taken } from "./wire.ts";

/** Small, so that little traffic fills it. */
export const WINDOW = 16 * 1024;

export function carrierTo(sent: Bytes[]): { send(message: string | Bytes): void } {
  return { send: (message) => void sent.push(new Uint8Array(message as Bytes)) };
}

/** What one end of a link has sent, and a way to make it send. */
class Sending {
  /** Messages in the order in which they left. */
  readonly sent: Bytes[] = [];
  /** The link is of no use any more, says the channel. */
  overflow: ProtocolError | undefined;
  readonly #flushes: (() => void)[] = [];

  readonly options = {
    schedule: (flush: () => void): void => void this.#flushes.push(flush),
    overflowed: (error: ProtocolError): void => void (this.overflow ??= error),
  };

  /** @returns the frames that have left since the last time */
  frames(): Taken[] {
    for (let flush = this.#flushes.shift(); flush !== undefined; flush = this.#flushes.shift()) flush();
    return framesIn(joined(this.sent.splice(0)));
  }
}

/** A relay's end alone; what a worker would send is given to `receive`. */
export class RelayEnd extends Sending {
  readonly codec: RelayCodec;
  /** Each event as it came. */
  readonly heard: { event: string; id?: string; size?: number }[] = [];
  /** Bytes of each response that came and were not taken by its client. */
  readonly waiting = new Map<string, number>();
  registrations = 0;

  constructor(registered = true, window = WINDOW) {
    super();
    const note = (event: string, id?: string, size?: number): void =>
      void this.heard.push({ event, ...(id !== undefined && { id }), ...(size !== undefined && { size }) });
    const events: RelayEvents = {
      registered: () => {
        this.registrations++;
        this.codec.accept({ workerId: "w_1", models: ["m"], warnings: [], features: [] });
      },
      head: (id) => note("head", id),
      body: (id, bytes) => {
        note("body", id, bytes.length);
        this.waiting.set(id, (this.waiting.get(id) ?? 0) + bytes.length);
      },
      end: (id) => note("end", id),
      broken: (id) => note("broken", id),
      pong: () => note("pong"),
      models: () => note("models"),
      complaint: () => note("complaint"),
    };
    this.codec = createV2RelayCodec(carrierTo(this.sent), events, {
      ...this.options,
      sessionId: "s",
      window,
    });
    if (!registered) return;
    this.codec.receive(REGISTER);
    this.frames();
  }

  ask(id: string, bodyBytes = 0): void {
    this.codec.request({
      id,
      model: "m",
      method: "POST",
      path: "/v1/chat/completions",
      streaming: true,
      headers: {},
      body: new Uint8Array(bodyBytes),
    });
  }
}

/** A worker's end alone; what a relay would send is given to `receive`. */
export class WorkerEnd extends Sending {
  readonly codec: WorkerCodec;
  readonly heard: { event: string; id?: string }[] = [];
  readonly requests: LinkRequest[] = [];
  readonly writers = new Map<string, ResponseWriter>();

  constructor(accepted = true, window = WINDOW) {
    super();
    const note = (event: string, id?: string): void =>
      void this.heard.push({ event, ...(id !== undefined && { id }) });
    this.codec = createV2WorkerCodec(
      carrierTo(this.sent),
      {
        accepted: () => note("accepted"),
        request: (request) => {
          note("request", request.id);
          this.requests.push(request);
          this.writers.set(request.id, this.codec.respond(request));
        },
        cancel: (id) => {
          note("cancel", id);
          this.writers.get(id)?.cancelled();
        },
        ping: (ms) => this.codec.pong(1, ms),
        drain: () => note("drain"),
        refreshModels: () => note("refresh"),
        resumed: () => note("resumed"),
        refused: () => note("refused"),
      },
      { ...this.options, window },
    );
    this.codec.register({
      name: "w",
      models: ["m"],
      maxConcurrent: 8,
      load: 0,
      protocolVersion: undefined,
      features: [],
    });
    this.frames();
    if (!accepted) return;
    this.codec.receive(REGISTER_ACK);
    this.heard.length = 0;
  }
}

/** The error that these bytes end a link with; `undefined` if they are taken. What is no typed error is thrown. */
export function errorOf(codec: RelayCodec | WorkerCodec, ...messages: Bytes[]): ProtocolError | undefined {
  try {
    for (const message of messages) codec.receive(message);
    return undefined;
  } catch (error) {
    if (error instanceof ProtocolError) return error;
    throw error;
  }
}
