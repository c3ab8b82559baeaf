/** What answers of models take, from a cached embedding to a long answer on a small machine; in seconds. */
export const ANSWER_TIMES = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600];

/** Gaps in a stream, from a fast GPU's tokens to a backend that has stopped; in seconds. */
export const GAP_TIMES = [0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 15, 60];

/** How often something took how long: counts between fixed bounds. */
export class Histogram {
  readonly bounds: readonly number[];
  /** One more than the bounds: the last is for what is above all of them. Not cumulative. */
  readonly counts: Float64Array;
  sum = 0;

  /** @param bounds upper ones, rising, each with what equals it */
  constructor(bounds: readonly number[]) {
    this.bounds = bounds;
    this.counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    const { bounds, counts } = this;
    let at = 0;
    while (at < bounds.length && value > bounds[at]!) at++;
    counts[at]!++;
    this.sum += value;
  }
}
