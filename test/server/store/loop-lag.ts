import { expect } from "bun:test";

/** A turn of the event loop that comes later than that was kept waiting, ms. */
const LATE_MS = 5;

/** How an event loop fared while it was watched. */
export interface LoopLag {
  /** Part of the time that was spent waiting for late turns. */
  lateShare: number;
  /** The longest wait, ms. */
  longestMs: number;
}

/** Watches this thread's event loop: a timer of 1 ms that fires late was kept waiting by something. */
export function watchLoop(): () => LoopLag {
  const began = performance.now();
  let last = began;
  let lateMs = 0;
  let longestMs = 0;
  const note = (): void => {
    const now = performance.now();
    const gapMs = now - last - 1;
    last = now;
    if (gapMs > LATE_MS) lateMs += gapMs;
    longestMs = Math.max(longestMs, gapMs);
  };
  const timer = setInterval(note, 1);
  return () => {
    clearInterval(timer);
    note();
    return { lateShare: lateMs / (performance.now() - began), longestMs };
  };
}

/**
 * That the event loop went on: waiting for a lock or a server takes nearly all of the time watched, in turns of
 * 50 ms or in one. What remains is the scheduler's, on a machine that is busy with other things.
 */
export function expectFlowing({ lateShare, longestMs }: LoopLag): void {
  expect({ lateShare: Math.max(lateShare, 0.5), longestMs: Math.max(longestMs, 500) }).toEqual({
    lateShare: 0.5,
    longestMs: 500,
  });
}
