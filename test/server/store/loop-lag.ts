import { expect } from "bun:test";

/** How late turns of the event loop came while it was watched, in ms. */
export interface LoopLag {
  /** Nine of ten turns were less late. */
  p90Ms: number;
  p99Ms: number;
  longestMs: number;
}

/** Watches this thread's event loop: a timer of 1 ms that fires late was kept waiting by something. */
export function watchLoop(): () => LoopLag {
  const gaps: number[] = [];
  let last = performance.now();
  const note = (): void => {
    const now = performance.now();
    gaps.push(now - last - 1);
    last = now;
  };
  const timer = setInterval(note, 1);
  return () => {
    clearInterval(timer);
    note();
    gaps.sort((a, b) => a - b);
    const at = (share: number): number =>
      gaps[Math.min(gaps.length - 1, Math.floor(gaps.length * share))] ?? 0;
    return { p90Ms: at(0.9), p99Ms: at(0.99), longestMs: at(1) };
  };
}

/**
 * That nobody was kept waiting for over 5 ms, as far as this process decides it: on a machine that is busy with
 * other things, a tenth of the turns may come later, and the latest as late as a scheduler makes it.
 */
export function expectFlowing(lag: LoopLag): void {
  expect({ p90Ms: Math.max(lag.p90Ms, 5), longestMs: Math.max(lag.longestMs, 250) }).toEqual({
    p90Ms: 5,
    longestMs: 250,
  });
}
