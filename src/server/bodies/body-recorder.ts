import type { ByteBudget } from "../byte-budget.ts";
import type { KeptBody } from "./body-store.ts";

/** The first room that is made for an answer that comes in parts. */
const FIRST_ROOM = 4 * 1024;

const EMPTY = new Uint8Array(0);
const NOTHING: KeptBody = { kept: EMPTY, bytes: 0 };

/** What was kept of a request that is over. */
export interface Recorded {
  request: KeptBody;
  answer: KeptBody;
  /** Bytes that were taken from the budget for it, and are the caller's to give back. */
  held: number;
}

/**
 * Keeps what is asked and answered in one request while it runs. All that it holds is taken from a budget
 * of its own; where that has no room, it lets go of everything and the request runs on.
 */
export class BodyRecorder {
  readonly #budget: ByteBudget;
  readonly #limit: number;
  #request = NOTHING;
  #answer: Uint8Array<ArrayBuffer> = EMPTY;
  #answerBytes = 0;
  #held = 0;
  #state: "open" | "lost" | "over" = "open";

  /** @param limit longest part of each body that is kept */
  constructor(budget: ByteBudget, limit: number) {
    this.#budget = budget;
    this.#limit = limit;
  }

  /** The whole request is here. @param body never changes again */
  asked(body: Uint8Array<ArrayBuffer>): void {
    if (!this.#take(Math.min(body.length, this.#limit))) return;
    // A part of a long body would keep all of it in memory.
    const kept = body.length <= this.#limit ? body : body.slice(0, this.#limit);
    this.#request = { kept, bytes: body.length };
  }

  /** A part of the answer has come. Called for each token. */
  answered(part: Uint8Array<ArrayBuffer>): void {
    const from = this.#answerBytes;
    this.#answerBytes = from + part.length;
    if (from >= this.#limit) return;
    const to = Math.min(this.#answerBytes, this.#limit);
    if (to > this.#answer.length && !this.#grow(from, to)) return;
    this.#answer.set(to < this.#answerBytes ? part.subarray(0, to - from) : part, from);
  }

  /** Ends the keeping. @returns `undefined` if there was no room */
  take(): Recorded | undefined {
    if (this.#state !== "open") return undefined;
    const kept = this.#answer.slice(0, Math.min(this.#answerBytes, this.#limit));
    const spare = this.#answer.length - kept.length;
    this.#budget.give(spare);
    const held = this.#held - spare;
    const taken = { request: this.#request, answer: { kept, bytes: this.#answerBytes }, held };
    this.#forget("over");
    return taken;
  }

  /** Nothing of it is wanted. */
  drop(): void {
    this.#budget.give(this.#held);
    this.#forget("over");
  }

  #grow(used: number, wanted: number): boolean {
    const room = used === 0 ? wanted : Math.max(wanted, FIRST_ROOM, 2 * this.#answer.length);
    const length = Math.min(room, this.#limit);
    if (!this.#take(length - this.#answer.length)) return false;
    const grown = new Uint8Array(length);
    grown.set(this.#answer.subarray(0, used));
    this.#answer = grown;
    return true;
  }

  #take(bytes: number): boolean {
    if (this.#state !== "open") return false;
    if (this.#budget.take(bytes)) {
      this.#held += bytes;
      return true;
    }
    this.#budget.give(this.#held);
    this.#forget("lost");
    return false;
  }

  #forget(state: "lost" | "over"): void {
    this.#state = state;
    this.#request = NOTHING;
    this.#answer = EMPTY;
    this.#held = 0;
  }
}
