import { CONTENT_MARK, SEQUENCE_OFFSET, TOKEN_BYTES, readSequence, readStamp } from "./completion.ts";

const LF = 10;
const CR = 13;

/** Whether the line at `start` is a `data` field of an SSE event. */
function isData(from: Buffer, start: number): boolean {
  return (
    from[start] === 100 &&
    from[start + 1] === 97 &&
    from[start + 2] === 116 &&
    from[start + 3] === 97 &&
    from[start + 4] === 58
  );
}

/**
 * Counts tokens in a server-sent event stream however its bytes are cut, and checks that each comes
 * once and in order. Comments (keep-alives) and events without content are counted apart.
 */
export class TokenReader {
  /** Events that carried a token. */
  tokens = 0;
  /** Tokens whose number was not the one after the token before: lost, repeated or out of order. */
  misplaced = 0;
  /** Events without a token, other than `[DONE]`. */
  others = 0;
  /** `[DONE]` was seen. */
  done = false;
  /** The number that the next token must have. */
  #next = 0;
  #held: Buffer | undefined;
  readonly #onToken: (stampMs: number) => void;

  /** @param onToken called for each token with when the backend wrote it (ms of the shared clock) */
  constructor(onToken: (stampMs: number) => void) {
    this.#onToken = onToken;
  }

  /** Reads `from[start, end)`. Keeps a copy of an event that has not ended, and nothing else. */
  push(from: Buffer, start: number, end: number): void {
    if (this.#held !== undefined) {
      const joined = Buffer.concat([this.#held, from.subarray(start, end)]);
      this.#held = undefined;
      this.push(joined, 0, joined.length);
      return;
    }
    let eventAt = start;
    let dataAt = -1;
    let dataEnd = -1;
    let at = start;
    while (at < end) {
      const newline = from.indexOf(LF, at);
      if (newline < 0 || newline >= end) break;
      const lineEnd = newline > at && from[newline - 1] === CR ? newline - 1 : newline;
      if (lineEnd === at) {
        if (dataAt >= 0) this.#event(from, dataAt, dataEnd);
        dataAt = -1;
        eventAt = newline + 1;
      } else if (isData(from, at)) {
        dataAt = at;
        dataEnd = lineEnd;
      }
      at = newline + 1;
    }
    if (eventAt < end) this.#held = Buffer.from(from.subarray(eventAt, end));
  }

  /** Bytes after the last whole event; not 0 at the end of a stream that was cut. */
  get heldBytes(): number {
    return this.#held?.length ?? 0;
  }

  #event(from: Buffer, start: number, end: number): void {
    let content = start + SEQUENCE_OFFSET;
    if (end - start !== TOKEN_BYTES - 2 || from[content - 1] !== 34) {
      // Not byte for byte what the backend wrote: the end, or a relay that writes its own JSON.
      const line = from.toString("latin1", start, end);
      const mark = line.indexOf(CONTENT_MARK);
      if (mark < 0) {
        if (line.endsWith("[DONE]")) this.done = true;
        else this.others++;
        return;
      }
      content = start + mark + CONTENT_MARK.length;
    }
    const sequence = readSequence(from, content);
    if (sequence !== this.#next) this.misplaced++;
    this.#next = sequence + 1;
    this.tokens++;
    this.#onToken(readStamp(from, content));
  }
}
