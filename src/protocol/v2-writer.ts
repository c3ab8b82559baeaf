import type { Channel } from "./channel.ts";
import { FRAME } from "./frames.ts";
import { V2_MAX_BODY, V2_MAX_TEXT, V2_UNACKED_PAUSE } from "./limits.ts";
import type { ResponseWriter } from "./link.ts";
import type { ResponseHead, TokenCounts } from "./messages.ts";
import { wireTokens } from "./token-counts.ts";
import { addCredit } from "./v2.ts";

/** What the writers of one link tell of themselves. */
export interface WriterEvents {
  /** It waits for acknowledgements, and is to be pumped when there are some. */
  paused(writer: V2Writer): void;
  flowing(writer: V2Writer): void;
  finished(writer: V2Writer): void;
}

/** Writes one response as fast as its client reads: what there is no credit for waits here. */
export class V2Writer implements ResponseWriter {
  readonly id: string;
  /** Of the request on the link. */
  readonly number: number;
  readonly #channel: Channel;
  readonly #events: WriterEvents;
  #credit: number;
  #waiting: Uint8Array[] = [];
  #ending: { tokens: TokenCounts | undefined } | undefined;
  #room: PromiseWithResolvers<void> | undefined;
  #state: "open" | "begun" | "finished" = "open";

  constructor(id: string, number: number, credit: number, channel: Channel, events: WriterEvents) {
    this.id = id;
    this.number = number;
    this.#credit = credit;
    this.#channel = channel;
    this.#events = events;
  }

  get finished(): boolean {
    return this.#state === "finished";
  }

  room(): Promise<void> | undefined {
    if (this.#state === "finished") return undefined;
    if (this.#flows) return undefined;
    if (this.#waiting.length === 0 && this.#credit > 0) this.#events.paused(this);
    this.#room ??= Promise.withResolvers<void>();
    return this.#room.promise;
  }

  head(head: ResponseHead): void {
    if (this.#state !== "open") return;
    const text = JSON.stringify({ status: head.status, headers: head.headers });
    const length = Buffer.byteLength(text);
    if (length > V2_MAX_TEXT) {
      const message = `The backend's header fields take ${length} bytes: ${V2_MAX_TEXT} are allowed`;
      return this.fail(502, message, "worker_link_too_small");
    }
    this.#state = "begun";
    this.#channel.sendText(FRAME.head, this.number, text, length);
  }

  body(bytes: Uint8Array<ArrayBuffer>): void {
    if (this.#state !== "begun" || this.#ending !== undefined || bytes.length === 0) return;
    // Nearly always nothing waits, and nobody for it.
    if (this.#room === undefined && this.#flows && bytes.length <= Math.min(this.#credit, V2_MAX_BODY)) {
      this.#credit -= bytes.length;
      return this.#channel.send(FRAME.body, this.number, bytes);
    }
    this.#waiting.push(bytes);
    this.pump();
  }

  end(tokens?: TokenCounts): void {
    if (this.#state !== "begun" || this.#ending !== undefined) return;
    if (this.#waiting.length === 0) return this.#sendEnd(tokens);
    this.#ending = { tokens };
    this.pump();
  }

  fail(status: number, message: string, code = "backend_unreachable"): void {
    if (this.#state === "finished") return;
    const origin = code.startsWith("worker_") ? "worker" : "backend";
    this.#channel.sendJson(FRAME.fail, this.number, { status, code, message, origin });
    this.#finish();
  }

  /** Nobody wants it any more: the backend was told, or the relay said so. */
  cancelled(): void {
    if (this.#state !== "finished") this.#finish();
  }

  grant(bytes: number): void {
    this.#credit = addCredit(this.#credit, bytes);
    this.pump();
  }

  /** Sends what there is credit for. */
  pump(): void {
    if (this.#state === "finished") return;
    while (this.#waiting.length > 0 && this.#credit > 0) {
      if (this.#channel.unacked > V2_UNACKED_PAUSE) return this.#events.paused(this);
      const part = this.#waiting[0]!;
      const size = Math.min(part.length, this.#credit, V2_MAX_BODY);
      this.#channel.send(FRAME.body, this.number, size === part.length ? part : part.subarray(0, size));
      this.#credit -= size;
      if (size === part.length) this.#waiting.shift();
      else this.#waiting[0] = part.subarray(size);
    }
    this.#events.flowing(this);
    if (this.#waiting.length > 0) return;
    if (this.#ending !== undefined) return this.#sendEnd(this.#ending.tokens);
    if (this.#credit > 0) this.#openRoom();
  }

  /** Whether nothing waits, and what comes next need not either. */
  get #flows(): boolean {
    return this.#waiting.length === 0 && this.#credit > 0 && this.#channel.unacked <= V2_UNACKED_PAUSE;
  }

  #sendEnd(tokens: TokenCounts | undefined): void {
    if (tokens === undefined) this.#channel.send(FRAME.end, this.number);
    else this.#channel.sendJson(FRAME.end, this.number, { token_counts: wireTokens(tokens) });
    this.#finish();
  }

  #finish(): void {
    this.#state = "finished";
    this.#waiting = [];
    this.#events.finished(this);
    this.#openRoom();
  }

  #openRoom(): void {
    this.#room?.resolve();
    this.#room = undefined;
  }
}
