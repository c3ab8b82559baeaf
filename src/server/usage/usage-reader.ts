import { createParser } from "eventsource-parser";
import { endsOf, LongText, type TextEnds } from "./long-text.ts";
import { find, hasCounts, hasUsage, readReport, type Report } from "./reported.ts";

/** How an answer's bytes are divided: events, lines that are JSON, or one JSON text. */
export type Framing = "events" | "lines" | "whole";

/** Looks at an answer's bytes as they pass, and finds what it reports. */
export interface UsageReader {
  /** @returns whether the part can be passed over: it is whole events, and no usage is in it */
  feed(bytes: Uint8Array): boolean;
  /** Reads what was kept; to be asked once the answer has ended, or broken off. */
  report(): Report;
  /** Bytes that one event takes, where nothing is known of how many there were. */
  readonly eventBytes: number | undefined;
}

/** @returns `undefined` for an answer that reports nothing that can be read */
export function framingOf(contentType: string): Framing | undefined {
  if (/^text\/event-stream\b/i.test(contentType)) return "events";
  if (/^application\/x-ndjson\b/i.test(contentType)) return "lines";
  return /^application\/([\w.-]+\+)?json\b/i.test(contentType) ? "whole" : undefined;
}

export function createUsageReader(framing: Framing): UsageReader {
  return framing === "whole" ? new WholeReader() : new LineReader(framing);
}

const LF = 0x0a;

/** Lines of data of which the length is noted, to know a usual one; looking for the model ends with them. */
const SAMPLED_LINES = 8;
/** A shorter line has no JSON in it: `event: ping`, `: comment`, `data: [DONE]`. */
const MIN_LINE = 40;

/**
 * Reads a stream. Two lines are kept of it, and parsed at its end: the first that names a model
 * (`message_start`, or any chunk of OpenAI's), and the last with usage (`message_delta`,
 * `response.completed`, or the chunk that was asked for).
 */
class LineReader implements UsageReader {
  readonly #framing: "events" | "lines";
  readonly #reports: (bytes: Uint8Array) => boolean;
  /** The line that has begun, if a part ended inside it; used again for the next such line. */
  #line: LongText | undefined;
  #first: TextEnds | undefined;
  #last: TextEnds | undefined;
  readonly #lengths: number[] = [];

  constructor(framing: "events" | "lines") {
    this.#framing = framing;
    this.#reports = framing === "events" ? hasUsage : hasCounts;
  }

  feed(bytes: Uint8Array): boolean {
    const whole = !this.#isInside && bytes[bytes.length - 1] === LF;
    if (whole && this.#lengths.length === SAMPLED_LINES && !this.#reports(bytes)) return true;
    this.#split(bytes);
    return false;
  }

  get eventBytes(): number | undefined {
    const usual = this.#lengths.toSorted((a, b) => a - b)[this.#lengths.length >> 1];
    // An event's line is followed by an empty one.
    return usual === undefined ? undefined : usual + (this.#framing === "events" ? 2 : 1);
  }

  report(): Report {
    // A stream may end without the end of its last line.
    this.#endLine();
    const [first, last] = [this.#first, this.#last].map((line) => (line ? this.#read(line) : {}));
    return merged(first ?? {}, last ?? {});
  }

  #split(bytes: Uint8Array): void {
    let at = 0;
    for (let end = bytes.indexOf(LF); end !== -1; end = bytes.indexOf(LF, at)) {
      const part = bytes.subarray(at, end);
      at = end + 1;
      if (this.#isInside) {
        this.#line?.push(part);
        this.#endLine();
      } else this.#take({ head: part, tail: undefined }, part.length);
    }
    if (at === bytes.length) return;
    this.#line ??= new LongText();
    this.#line.push(bytes.subarray(at));
  }

  get #isInside(): boolean {
    return this.#line !== undefined && this.#line.length > 0;
  }

  #endLine(): void {
    if (this.#line === undefined || this.#line.length === 0) return;
    this.#take(this.#line.ends(), this.#line.length);
    this.#line.clear();
  }

  #take(line: TextEnds, length: number): void {
    if (length < MIN_LINE) return;
    const sampled = this.#lengths.length === SAMPLED_LINES;
    if (!sampled) this.#lengths.push(length);
    if (this.#first === undefined && !sampled && find(line.head, '"model"') !== -1) this.#first = kept(line);
    else if (this.#reports(line.tail ?? line.head) || (line.tail !== undefined && this.#reports(line.head)))
      this.#last = kept(line);
  }

  #read({ head, tail }: TextEnds): Report {
    if (this.#framing === "lines") return readReport({ head, tail }, false);
    // What is missing in the middle is missing inside of a line.
    if (tail !== undefined) return readReport({ head: head.subarray(find(head, "{")), tail }, true);
    const data = eventData(head);
    return data === undefined ? {} : readReport({ head: Buffer.from(data), tail: undefined }, true);
  }
}

/** The data of the one event in these bytes, which need not have its end. */
export function eventData(event: Uint8Array): string | undefined {
  let data: string | undefined;
  const parser = createParser({ onEvent: (message) => (data = message.data) });
  parser.feed(`${decoder.decode(event)}\n\n`);
  return data;
}

const decoder = new TextDecoder();

/** The bytes of a part belong to the link, those of a line to the next one. */
function kept({ head, tail }: TextEnds): TextEnds {
  return tail === undefined ? endsOf(head) : { head: new Uint8Array(head), tail };
}

/** Counts never shrink in the course of a stream, though some backends say 0 where they mean nothing new. */
function merged(first: Report, last: Report): Report {
  const report: Report = { ...first, ...last };
  for (const name of ["prompt", "completion", "cached"] as const) {
    const most = Math.max(first[name] ?? -1, last[name] ?? -1);
    if (most >= 0) report[name] = most;
  }
  return report;
}

/** Reads an answer that is one JSON text. */
class WholeReader implements UsageReader {
  /** The only part so far: most answers are no more than that, and need no copy. */
  #only: Uint8Array | undefined;
  #text: LongText | undefined;

  get eventBytes(): undefined {
    return undefined;
  }

  feed(bytes: Uint8Array): boolean {
    if (this.#only === undefined && this.#text === undefined) {
      this.#only = bytes;
      return false;
    }
    if (this.#text === undefined) {
      this.#text = new LongText();
      if (this.#only !== undefined) this.#text.push(this.#only);
      this.#only = undefined;
    }
    this.#text.push(bytes);
    return false;
  }

  report(): Report {
    const text = this.#text?.ends() ?? { head: this.#only ?? new Uint8Array(0), tail: undefined };
    this.#only = undefined;
    this.#text = undefined;
    return readReport(text, false);
  }
}
