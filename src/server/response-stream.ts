import type { Boundary } from "../protocol/dialect.ts";
import type { ByteBudget } from "./byte-budget.ts";

/** Small pieces that wait together leave together, up to this many bytes. */
const JOIN_BYTES = 64 * 1024;

const NEWLINE = 0x0a;

/**
 * A longer answer leaves as a stream even when it is here as a whole: what a client does not read is
 * then counted and can be let go of.
 */
export const MAX_WHOLE = 256 * 1024;

export interface ResponseStreamEvents {
  /** So many bytes have been handed to the client's connection, or are not wanted any more. */
  taken(bytes: number): void;
  /** The client has been handed the last byte. */
  read(): void;
  /** The client has gone away. */
  cancelled(): void;
}

/** The part of Bun's direct controller that is used. */
interface DirectController {
  /** @returns a promise while the client's connection takes no more: what was written waits there */
  write(bytes: Uint8Array<ArrayBuffer>): number | Promise<number>;
  end(): void;
}

/**
 * The body of an answer that is still being made: bytes are pushed in as they arrive and leave as the
 * client reads. What the client has not read yet is held here and counted.
 *
 * A direct stream writes to the connection itself, in half the time that a queued one takes for a token.
 * It says when the connection is full; whoever does not listen to that is given no bound.
 */
export class ResponseStream {
  readonly body: ReadableStream<Uint8Array<ArrayBuffer>>;
  #controller: DirectController | undefined;
  readonly #events: ResponseStreamEvents;
  readonly #budget: ByteBudget;
  #held: Uint8Array<ArrayBuffer>[] = [];
  #heldBytes = 0;
  /** The connection takes no more for now. */
  #full = false;
  /** Settles when the body is complete, or is to break off. */
  readonly #done = Promise.withResolvers<void>();
  #ending: "open" | "ended" | "broken" = "open";
  #last: Uint8Array | undefined;

  constructor(budget: ByteBudget, events: ResponseStreamEvents) {
    this.#budget = budget;
    this.#events = events;
    this.#done.promise.catch(() => {});
    const source = {
      type: "direct",
      pull: (controller: DirectController) => {
        this.#controller = controller;
        this.#write();
        return this.#done.promise;
      },
      cancel: () => this.#left(),
    };
    this.body = new ReadableStream(source as never);
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
    if (this.#controller !== undefined && !this.#full) {
      this.#last = bytes;
      this.#hand(this.#controller, bytes);
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
    else this.#finish();
  }

  /** Breaks the connection once what is held has been read, so that nobody takes the body for whole. */
  break(reason: string): void {
    if (this.#ending !== "open") return;
    this.#ending = "broken";
    if (this.#heldBytes > 0) this.#budget.leave(this);
    else this.#done.reject(new Error(reason));
  }

  /** Breaks the connection at once and lets go of what is held. */
  abandon(reason: string): void {
    const whole = this.#ending !== "open" && this.#heldBytes === 0;
    this.#release();
    if (whole) return;
    this.#ending = "broken";
    this.#done.reject(new Error(reason));
  }

  /** How the bytes so far end; a stream without any counts as being between two events. */
  get boundary(): Boundary {
    const last = this.#last;
    if (last === undefined) return "event";
    if (last.at(-1) !== NEWLINE) return "inside";
    const before = last.at(-2) === 0x0d ? last.at(-3) : last.at(-2);
    return before === NEWLINE ? "event" : "line";
  }

  /** Hands over what is held, until the connection is full. */
  #write(): void {
    const controller = this.#controller;
    if (controller === undefined) return;
    while (!this.#full && this.#held.length > 0) this.#hand(controller, this.#takeHeld());
    if (this.#heldBytes > 0 || this.#full) return;
    if (this.#ending === "ended") this.#finish();
    else if (this.#ending === "broken") this.#done.reject(new Error("The answer broke off"));
  }

  #hand(controller: DirectController, bytes: Uint8Array<ArrayBuffer>): void {
    const written = controller.write(bytes);
    if (typeof written === "number") this.#events.taken(bytes.length);
    else this.#wait(written, bytes.length);
  }

  // By itself: a function in which there is a closure costs more, and this one is called for each token.
  #wait(written: Promise<number>, bytes: number): void {
    this.#full = true;
    const goOn = (): void => {
      this.#full = false;
      this.#events.taken(bytes);
      this.#write();
    };
    written.then(goOn, () => this.#left());
  }

  #finish(): void {
    if (this.#full || this.#controller === undefined) return;
    this.#controller.end();
    this.#done.resolve();
    this.#events.read();
  }

  #left(): void {
    if (this.#ending === "ended" && this.#heldBytes === 0) return;
    this.#release();
    this.#ending = "ended";
    this.#done.resolve();
    this.#events.cancelled();
  }

  #takeHeld(): Uint8Array<ArrayBuffer> {
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
    return taken.length === 1 && taken[0] !== undefined ? taken[0] : Buffer.concat(taken);
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
