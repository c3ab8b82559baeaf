import type {
  Carrier,
  RelayCodec,
  RelayEvents,
  ResponseWriter,
  WorkerCodec,
} from "../../src/protocol/link.ts";
import type { LinkRequest } from "../../src/protocol/messages.ts";
import { createV2RelayCodec } from "../../src/protocol/v2-relay.ts";
import { createV2WorkerCodec } from "../../src/protocol/v2-worker.ts";

/** What has become of one request, as the relay heard it. */
export interface Answer {
  status: number | undefined;
  body: Buffer[];
  ending: "open" | "ended" | "broken";
  tokens: unknown;
}

export interface PairOptions {
  window?: number;
  /** Cuts what one end sends into messages; whole as it came if absent. */
  split?: (bytes: Uint8Array<ArrayBuffer>) => Uint8Array<ArrayBuffer>[];
  /** Whether a client takes what it is given at once; all of them if absent. */
  reading?: (id: string) => boolean;
}

type Message = Uint8Array<ArrayBuffer>;

/**
 * Both ends of a v2 link in one place. Nothing moves by itself: `deliver` carries messages over, `cut` loses
 * those that are on their way and lets the worker go on over a new connection.
 */
export class V2Pair {
  readonly relay: RelayCodec;
  readonly worker: WorkerCodec;
  readonly answers = new Map<string, Answer>();
  readonly requests: LinkRequest[] = [];
  readonly writers = new Map<string, ResponseWriter>();
  readonly cancelled: string[] = [];
  readonly pongs: number[] = [];
  /** Errors that an end found with what the other sent. */
  readonly errors: Error[] = [];
  resumptions = 0;
  #toRelay: Message[] = [];
  #toWorker: Message[] = [];
  #flushes: (() => void)[] = [];
  readonly #options: PairOptions;
  /** Which of the connections is the present one. */
  #connection = 0;

  constructor(options: PairOptions = {}) {
    this.#options = options;
    const schedule = (flush: () => void): void => void this.#flushes.push(flush);
    const overflowed = (error: Error): void => void this.errors.push(error);
    const window = options.window === undefined ? {} : { window: options.window };
    this.relay = createV2RelayCodec(this.#carrier("worker"), this.#relayEvents(), {
      sessionId: "session-1",
      schedule,
      overflowed,
      ...window,
    });
    this.worker = createV2WorkerCodec(
      this.#carrier("relay"),
      {
        accepted() {},
        request: (request) => {
          this.requests.push(request);
          this.writers.set(request.id, this.worker.respond(request));
        },
        cancel: (id) => {
          this.cancelled.push(id);
          this.writers.get(id)?.cancelled();
        },
        ping: (ms) => this.worker.pong(7, ms),
        drain() {},
        refreshModels() {},
        resumed: () => void this.resumptions++,
        refused: (reason) => void this.errors.push(new Error(`refused: ${reason}`)),
      },
      { schedule, overflowed, ...window },
    );
    this.worker.register({
      name: "w",
      models: ["m"],
      maxConcurrent: 64,
      load: 0,
      protocolVersion: undefined,
      features: [],
    });
    this.deliver();
  }

  ask(id: string, body: Uint8Array = new Uint8Array(0)): Answer {
    const answer: Answer = { status: undefined, body: [], ending: "open", tokens: undefined };
    this.answers.set(id, answer);
    this.relay.request({
      id,
      model: "m",
      method: "PUT",
      path: "/v1/files?x=1",
      streaming: true,
      headers: { "content-type": "audio/wav" },
      body,
    });
    return answer;
  }

  /** Lets both ends flush, and carries everything over until nothing is on its way. */
  deliver(): void {
    while (this.step()) {
      // Until nothing moves.
    }
  }

  /** One flush, or one message carried over. @returns false if there was nothing to do */
  step(): boolean {
    const flush = this.#flushes.shift();
    if (flush !== undefined) {
      flush();
      return true;
    }
    return this.carry("relay") || this.carry("worker");
  }

  /** Carries one message over to an end. */
  carry(to: "relay" | "worker"): boolean {
    const message = (to === "relay" ? this.#toRelay : this.#toWorker).shift();
    if (message === undefined) return false;
    if (to === "relay" && this.#resumes(message)) return true;
    for (const part of this.#options.split?.(message) ?? [message]) {
      try {
        this[to].receive(part);
      } catch (error) {
        this.errors.push(error as Error);
      }
    }
    return true;
  }

  /** Loses the connection with all that is on its way, and dials again. */
  cut(): void {
    this.#toRelay = [];
    this.#toWorker = [];
    this.#connection++;
    this.relay.resumption?.suspend();
    this.worker.continuation?.suspend();
    this.#awaiting = true;
    this.worker.continuation?.ask(this.#carrier("relay"));
  }

  /** The relay waits for the first frame of a new connection. */
  #awaiting = false;

  /** What the relay's shell does with the first message of a connection. */
  #resumes(message: Message): boolean {
    if (!this.#awaiting) return false;
    this.#awaiting = false;
    const { received } = JSON.parse(Buffer.from(message.subarray(8)).toString()) as { received: number };
    this.relay.resumption?.resume(this.#carrier("worker"), received);
    return true;
  }

  #carrier(to: "relay" | "worker"): Carrier {
    const connection = this.#connection;
    return {
      send: (message) => {
        if (connection !== this.#connection) return;
        // A copy, as a socket makes one: the sender may do with its own what it likes.
        (to === "relay" ? this.#toRelay : this.#toWorker).push(new Uint8Array(message as Message));
      },
    };
  }

  #relayEvents(): RelayEvents {
    const answerTo = (id: string): Answer => {
      const answer = this.answers.get(id);
      if (answer?.ending !== "open") throw new Error(`Heard of "${id}", which is not open`);
      return answer;
    };
    return {
      registered: () => this.relay.accept({ workerId: "w_1", models: ["m"], warnings: [], features: [] }),
      head: (id, head) => void (answerTo(id).status = head.status),
      body: (id, bytes) => {
        answerTo(id).body.push(Buffer.from(bytes));
        if (this.#options.reading?.(id) !== false) this.relay.consumed(id, bytes.length);
      },
      end: (id, tokens) => {
        const answer = answerTo(id);
        answer.ending = "ended";
        answer.tokens = tokens;
      },
      broken: (id) => void (answerTo(id).ending = "broken"),
      pong: (load) => void this.pongs.push(load),
      models() {},
      complaint() {},
    };
  }
}
