import { EXIT } from "./failure.ts";
import type { SignalSource } from "./signals.ts";

const CODES = { SIGINT: EXIT.interrupted, SIGTERM: EXIT.terminated, SIGHUP: EXIT.terminated } as const;

/**
 * Runs work that leaves nothing half done when it is interrupted.
 *
 * @param work rejects once its signal is aborted
 * @param onInterrupted called when it has ended because of that
 * @returns what the work returns, or the code of the signal that ended it
 */
export async function interruptible(
  work: (signal: AbortSignal) => Promise<number>,
  onInterrupted: () => void,
  source: SignalSource = process,
): Promise<number> {
  const aborted = new AbortController();
  let code: number | undefined;
  const listeners = (Object.keys(CODES) as (keyof typeof CODES)[]).map((name) => {
    const listener = (): void => {
      code ??= CODES[name];
      aborted.abort(new Error(`interrupted by ${name}`));
    };
    source.on(name, listener);
    return { name, listener };
  });
  try {
    return await work(aborted.signal);
  } catch (error) {
    if (code === undefined) throw error;
    onInterrupted();
    return code;
  } finally {
    for (const { name, listener } of listeners) source.off(name, listener);
  }
}
