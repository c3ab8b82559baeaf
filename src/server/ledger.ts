import type { RecordSink, RequestRecord } from "./request-record.ts";

/**
 * Tells of requests that have ended at the end of the turn: their answers leave first, and what is alike
 * is done for all of them together, which takes half the time of doing it here and there.
 */
export class Ledger {
  readonly #sinks: readonly RecordSink[];
  #ended: RequestRecord[] = [];

  /** @param sinks told of each record in this order; none may throw */
  constructor(sinks: readonly RecordSink[]) {
    this.#sinks = sinks;
  }

  add(record: RequestRecord): void {
    if (this.#ended.push(record) === 1) setImmediate(this.flush);
  }

  /** Tells of what is there now. */
  readonly flush = (): void => {
    const ended = this.#ended;
    if (ended.length === 0) return;
    this.#ended = [];
    for (const record of ended) record.answer?.countTokens();
    for (const sink of this.#sinks) for (const record of ended) sink(record);
  };
}
