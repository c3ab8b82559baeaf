import type { Boundary } from "../protocol/dialect.ts";
import type { ByteBudget } from "./byte-budget.ts";

/** Small pieces that wait together leave together, up to this many bytes. */
const JOIN_BYTES = 256 * 1024;

const NEWLINE = 0x0a;

export interface ResponseStreamEvents {
  /** So many bytes have been handed to the client's connection, or are not wanted any more. */
  taken(bytes: number): void;
  /** The client has been handed the last byte. */
  read(): void;
  /** The client has gone away. */
  cancelled(): void;
}

/**
 * The body of an answer that is still being made: bytes are pushed in as they arrive and leave as the
 * client reads. What the client has not read yet is held here and counted.
 */
export class ResponseStream {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  #controller: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined;
  readonly #budget: ByteBudget;
  readonly #events: ResponseStreamEvents;
  #held: Uint8Array<ArrayBuffer>[] = [];
  #heldBytes = 0;
  /** Resolves the pull that waits for bytes. */
  #wanted: (() => void) | undefined;
  #ending: "open" | "ended" | "broken" = "open";
  #last: Uint8Array | undefined;

  constructor(budget: ByteBudget, events: ResponseStreamEvents) {
    this.#budget = budget;
    this.#events = events;
    // Only a pull stream is held back by a client that does not read; highWaterMark 0 keeps the count
    // of held bytes here and nowhere else.
    this.body = new ReadableStream<Uint8Array<ArrayBuffer>>(
      {
        start: (controller) => {
          this.#controller = controller;
        },
        pull: () => this.#pull(),
        cancel: () => {
          this.#release();
          this.#ending = "ended";
          this.#events.cancelled();
        },
      },
      { highWaterMark: 0 },
    );
  }

  get heldBytes(): number {
    return this.#heldBytes;
  }

  /** @returns false if the shared budget has no room for what would have to be held */
  push(bytes: Uint8Array<ArrayBuffer>): boolean {
    if (bytes.length === 0) return true;
    if (this.#ending !== "open") {
      this.#events.taken(bytes.length);
      return true;
    }
    if (this.#wanted !== undefined) {
      this.#last = bytes;
      this.#controller?.enqueue(bytes);
      this.#answerPull();
      this.#events.taken(bytes.length);
      return true;
    }
    if (!this.#budget.take(bytes.length)) return false;
    const own = ownBytes(bytes);
    this.#last = own;
    this.#held.push(own);
    this.#heldBytes += bytes.length;
    return true;
  }

  /** Closes the body once what is held has been read. */
  end(): void {
    if (this.#ending !== "open") return;
    this.#ending = "ended";
    if (this.#heldBytes > 0) this.#budget.leave(this);
    if (this.#wanted === undefined) return;
    this.#complete();
    this.#answerPull();
  }

  /** Breaks the connection once what is held has been read, so that nobody takes the body for whole. */
  break(reason: string): void {
    if (this.#ending !== "open") return;
    this.#ending = "broken";
    if (this.#heldBytes > 0) this.#budget.leave(this);
    if (this.#wanted === undefined) return;
    this.#controller?.error(new Error(reason));
    this.#answerPull();
  }

  /** Breaks the connection at once and lets go of what is held. */
  abandon(reason: string): void {
    const whole = this.#ending !== "open" && this.#heldBytes === 0;
    this.#release();
    if (!whole) {
      this.#ending = "broken";
      this.#controller?.error(new Error(reason));
    }
    this.#answerPull();
  }

  /** How the bytes so far end; a stream without any counts as being between two events. */
  get boundary(): Boundary {
    const last = this.#last;
    if (last === undefined) return "event";
    if (last.at(-1) !== NEWLINE) return "inside";
    const before = last.at(-2) === 0x0d ? last.at(-3) : last.at(-2);
    return before === NEWLINE ? "event" : "line";
  }

  #pull(): void | Promise<void> {
    const next = this.#takeHeld();
    if (next !== undefined) {
      this.#controller?.enqueue(next);
      return;
    }
    if (this.#ending === "ended") return this.#complete();
    if (this.#ending === "broken") return this.#controller?.error(new Error("The answer broke off"));
    return new Promise((resolve) => {
      this.#wanted = resolve;
    });
  }

  #complete(): void {
    this.#controller?.close();
    this.#events.read();
  }

  #takeHeld(): Uint8Array<ArrayBuffer> | undefined {
    if (this.#held.length === 0) return undefined;
    let count = 0;
    let bytes = 0;
    while (
      count < this.#held.length &&
      (count === 0 || bytes + (this.#held[count]?.length ?? 0) <= JOIN_BYTES)
    ) {
      bytes += this.#held[count++]?.length ?? 0;
    }
    const taken = this.#held.splice(0, count);
    this.#heldBytes -= bytes;
    this.#budget.give(bytes);
    if (this.#heldBytes === 0) this.#budget.settle(this);
    this.#events.taken(bytes);
    return taken.length === 1 ? taken[0] : Buffer.concat(taken);
  }

  #answerPull(): void {
    const wanted = this.#wanted;
    this.#wanted = undefined;
    wanted?.();
  }

  #release(): void {
    this.#budget.give(this.#heldBytes);
    this.#budget.settle(this);
    this.#held = [];
    this.#heldBytes = 0;
  }
}

/** What is held must not keep alive a whole message of the link of which it is a small part. */
function ownBytes(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return bytes.length * 2 < bytes.buffer.byteLength ? bytes.slice() : bytes;
}
