import type { Clock } from "./clock.ts";

/**
 * Waits, unless the signal is aborted first.
 *
 * @param delayMs by the clock
 * @throws the signal's reason
 */
export async function wait(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  signal?.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () => reject(signal?.reason);
  signal?.addEventListener("abort", onAbort);
  const timer = clock.after(delayMs, resolve);
  try {
    await promise;
  } finally {
    timer.cancel();
    signal?.removeEventListener("abort", onAbort);
  }
}
