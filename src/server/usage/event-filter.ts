import { hasUsage } from "./reported.ts";
import { eventData } from "./usage-reader.ts";

/** The event that was asked for is far shorter: what is longer is not held back. */
const MAX_HELD = 16 * 1024;

const LF = 0x0a;
const CR = 0x0d;

/**
 * Takes the event with the usage out of a stream of OpenAI's, for a client that did not ask for it. All
 * other bytes leave as they came, and in the turn in which they came, but for the data of an event that is
 * not whole yet: it waits for its end. Comments and other fields, of which that event has none, do not wait.
 */
export class EventFilter {
  /** The event that has begun. */
  #held: Uint8Array<ArrayBuffer> | undefined;
  /** The event that has begun is a long one, and what came of it has left. */
  #passing = false;
  /** What left of the event that has begun ends inside a line, which is not its data. */
  #isInLine = false;
  /** The stream divides its lines in a way that is not looked into. */
  #off = false;
  #removed = 0;

  /**
   * @param plain the part has no usage in it, and ends with a line
   * @returns what may leave; empty if that is nothing
   */
  take(part: Uint8Array<ArrayBuffer>, plain: boolean): Uint8Array<ArrayBuffer> {
    if (this.#off) return part;
    if (plain && this.#held === undefined && !this.#passing && endsEvent(part)) {
      this.#isInLine = false;
      return part;
    }
    const bytes = this.#held === undefined ? part : Buffer.concat([this.#held, part]);
    this.#held = undefined;
    const firstLine = this.#isInLine ? lineAfter(bytes, 0) : 0;
    this.#isInLine = false;
    const leaving: Uint8Array[] = [];
    let from = 0;
    let at = 0;
    for (let end = eventEnd(bytes, 0); end !== undefined; end = eventEnd(bytes, at)) {
      const data = dataLine(bytes, Math.max(at, firstLine), end);
      if (!this.#passing && isExtra(bytes.subarray(data, end))) {
        leaving.push(bytes.subarray(from, data));
        this.#removed += end - data;
        from = end;
      }
      this.#passing = false;
      at = end;
    }
    leaving.push(bytes.subarray(from, this.#holdFrom(bytes, at, firstLine)));
    const [only] = leaving;
    return (leaving.length === 1 ? only : Buffer.concat(leaving)) as Uint8Array<ArrayBuffer>;
  }

  /**
   * What is held back, once nothing more comes.
   *
   * @param whole the stream has come to its end: what is missing is the empty line alone
   */
  rest(whole: boolean): Uint8Array<ArrayBuffer> | undefined {
    const held = this.#held;
    this.#held = undefined;
    if (held === undefined || !whole || !isExtra(held)) return held;
    this.#removed += held.length;
    return undefined;
  }

  /** Bytes that were taken out since this was asked last. */
  takeRemoved(): number {
    const removed = this.#removed;
    this.#removed = 0;
    return removed;
  }

  /** Holds back the event that begins at `at` and has no end. @returns up to where the bytes leave */
  #holdFrom(bytes: Uint8Array, at: number, firstLine: number): number {
    if (at === bytes.length) return at;
    const rest = bytes.subarray(at);
    if (hasBareReturn(rest)) {
      this.#off = true;
      return bytes.length;
    }
    let from = dataLine(bytes, Math.max(at, firstLine), bytes.length);
    if (bytes.length - from > MAX_HELD) this.#passing = true;
    if (this.#passing) {
      // Half an empty line says where the next event begins once the other half has come.
      from = bytes.length;
      while (from > at && (bytes[from - 1] === LF || bytes[from - 1] === CR)) from--;
    }
    this.#isInLine = from === bytes.length && bytes[from - 1] !== LF;
    if (from < bytes.length) this.#held = new Uint8Array(bytes.subarray(from));
    return from;
  }
}

/** Whether an event is OpenAI's last, with the usage and no choices. */
function isExtra(event: Uint8Array): boolean {
  if (!hasUsage(event) || !NO_CHOICES.test(latin1.decode(event))) return false;
  const data = eventData(event);
  try {
    const chunk = JSON.parse(data ?? "") as { choices?: unknown; usage?: unknown; error?: unknown };
    if (typeof chunk.usage !== "object" || chunk.usage === null) return false;
    if (chunk.error !== undefined && chunk.error !== null) return false;
    return Array.isArray(chunk.choices) && chunk.choices.length === 0;
  } catch {
    return false;
  }
}

const NO_CHOICES = /"choices"\s*:\s*\[\s*\]/;
const latin1 = new TextDecoder("latin1");

const DATA = new TextEncoder().encode("data:");

/** Where the first line from `at` on begins that is data, or may become so; `end` if there is none. */
function dataLine(bytes: Uint8Array, at: number, end: number): number {
  for (let line = at; line < end; line = lineAfter(bytes, line)) {
    const there = Math.min(DATA.length, end - line);
    let same = 0;
    while (same < there && bytes[line + same] === DATA[same]) same++;
    if (same === there) return line;
  }
  return end;
}

/** Where the line after the one at `at` begins. */
function lineAfter(bytes: Uint8Array, at: number): number {
  const end = bytes.indexOf(LF, at);
  return end === -1 ? bytes.length : end + 1;
}

function endsEvent(bytes: Uint8Array): boolean {
  const { length } = bytes;
  if (bytes[length - 1] !== LF) return false;
  return bytes[length - 2] === LF || (bytes[length - 2] === CR && bytes[length - 3] === LF);
}

/** Index behind the first empty line from `at` on that ends an event; lines end with LF or CRLF. */
function eventEnd(bytes: Uint8Array, at: number): number | undefined {
  for (let line = bytes.indexOf(LF, at); line !== -1; line = bytes.indexOf(LF, line + 1)) {
    if (bytes[line + 1] === LF) return line + 2;
    if (bytes[line + 1] === CR && bytes[line + 2] === LF) return line + 3;
  }
  return undefined;
}

/** Whether a line ends with CR alone; at the end of what has come, LF may follow. */
function hasBareReturn(bytes: Uint8Array): boolean {
  for (let at = bytes.indexOf(CR); at !== -1 && at < bytes.length - 1; at = bytes.indexOf(CR, at + 1))
    if (bytes[at + 1] !== LF) return true;
  return false;
}
