import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { RecordSink, RequestRecord } from "./request-record.ts";

/**
 * Tells of requests that have ended at the end of the turn: their answers leave first, and what is alike
 * is done for all of them together, which takes half the time of doing it here and there.
 */
export class Ledger {
  readonly #sinks: readonly RecordSink[];
  readonly #log: Log;
  #ended: RequestRecord[] = [];

  /** @param sinks told of each record in this order; none may throw */
  constructor(sinks: readonly RecordSink[], log: Log) {
    this.#sinks = sinks;
    this.#log = log;
  }

  add(record: RequestRecord): void {
    if (this.#ended.push(record) === 1) setImmediate(this.flush);
  }

  /** Tells of what is there now. */
  readonly flush = (): void => {
    const ended = this.#ended;
    if (ended.length === 0) return;
    this.#ended = [];
    for (const record of ended) this.#count(record);
    for (const sink of this.#sinks) for (const record of ended) sink(record);
  };

  #count(record: RequestRecord): void {
    const { answer } = record;
    // Traces keep records for a while: what was asked and answered is not to be kept with them.
    record.answer = undefined;
    try {
      answer?.countTokens();
    } catch (error) {
      // The other requests of the turn have theirs to be told.
      this.#log.error("The tokens of a request could not be counted", {
        request: record.clientId,
        reason: messageOf(error),
      });
    }
  }
}
