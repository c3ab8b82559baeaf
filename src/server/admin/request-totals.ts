import type { Outcome, RequestRecord } from "../request-record.ts";

/** How many requests to the API have ended since the start, and how. */
export class RequestTotals {
  readonly #byOutcome: Record<Outcome, number> = { complete: 0, refused: 0, failed: 0, cancelled: 0 };
  #bytesIn = 0;
  #bytesOut = 0;

  add({ outcome, bytesIn, bytesOut }: RequestRecord): void {
    this.#byOutcome[outcome ?? "complete"]++;
    this.#bytesIn += bytesIn;
    this.#bytesOut += bytesOut;
  }

  view(): object {
    const { complete, refused, failed, cancelled } = this.#byOutcome;
    return {
      total: complete + refused + failed + cancelled,
      ...this.#byOutcome,
      bytes_in: this.#bytesIn,
      bytes_out: this.#bytesOut,
    };
  }
}
