import type { Clock } from "../../base/clock.ts";
import { formatDuration } from "../../base/duration.ts";

/**
 * Runs `act` for at most `limitMs`.
 *
 * @param act gets a signal that aborts at the limit, and when `act` has settled: what it opened must be
 *   closed by it
 * @throws an error that says how long was waited, or what `act` throws
 */
export async function within<T>(
  clock: Clock,
  limitMs: number,
  act: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const late = Promise.withResolvers<never>();
  const timer = clock.after(limitMs, () => {
    const error = new Error(`no answer within ${formatDuration(limitMs)}`);
    late.reject(error);
    abort.abort(error);
  });
  try {
    return await Promise.race([act(abort.signal), late.promise]);
  } finally {
    timer.cancel();
    abort.abort();
  }
}
