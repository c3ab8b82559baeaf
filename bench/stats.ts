/** A distribution as the reports need it; all zero when there was no sample. */
export interface Quantiles {
  count: number;
  p50: number;
  p99: number;
  max: number;
}

/** Summarises samples in any order, by nearest rank. */
export function quantiles(samples: readonly number[]): Quantiles {
  const sorted = Float64Array.from(samples).sort();
  const at = (q: number) => sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] ?? 0;
  return { count: sorted.length, p50: at(0.5), p99: at(0.99), max: at(1) };
}

/** The middle value, or the mean of the two middle ones; NaN without values. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const high = sorted[middle] ?? Number.NaN;
  return sorted.length % 2 === 1 ? high : ((sorted[middle - 1] ?? Number.NaN) + high) / 2;
}

/**
 * How far the rounds lie apart: half of (max - min), as a share of the median's size. 0.05 reads as
 * "plus or minus 5 %". 0 for a single value.
 */
export function spread(values: readonly number[]): number {
  const half = (Math.max(...values) - Math.min(...values)) / 2;
  return half === 0 ? 0 : half / Math.abs(median(values));
}
