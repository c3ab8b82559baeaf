import { EXIT } from "./failure.ts";

type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";

/** The part of `process` that signals come from. */
export interface SignalSource {
  on(signal: StopSignal, listener: () => void): unknown;
  off(signal: StopSignal, listener: () => void): unknown;
}

export interface StopHandlers {
  /** First SIGTERM or SIGINT: finish what runs. Its end is the end of the command. */
  onFirst(signal: StopSignal): Promise<void>;
  /** A second one while `onFirst` still runs; the command ends as soon as this returns. */
  onSecond?(signal: StopSignal): void;
  /** SIGHUP. Without it a hang-up stops the command as SIGTERM does, since it would kill it anyway. */
  onReload?(): void;
}

/**
 * Waits until the command is to end: 0 once it has finished what ran, 130 or 143 if a second signal
 * cut that short. Rejects if `onFirst` does. Signals after the end have their usual effect again.
 */
export function stopRequested(handlers: StopHandlers, source: SignalSource = process): Promise<number> {
  const { promise, resolve, reject } = Promise.withResolvers<number>();
  let stopping = false;
  const stop = (signal: StopSignal): void => {
    if (stopping) {
      handlers.onSecond?.(signal);
      resolve(signal === "SIGINT" ? EXIT.interrupted : EXIT.terminated);
      return;
    }
    stopping = true;
    handlers.onFirst(signal).then(() => resolve(0), reject);
  };
  const onInterrupt = (): void => stop("SIGINT");
  const onTerminate = (): void => stop("SIGTERM");
  const onHangUp = (): void => {
    if (handlers.onReload === undefined) stop("SIGHUP");
    else if (!stopping) handlers.onReload();
  };
  source.on("SIGINT", onInterrupt);
  source.on("SIGTERM", onTerminate);
  // On Windows it means that the console window closes, and nothing can be done in that time.
  if (process.platform !== "win32") source.on("SIGHUP", onHangUp);
  return promise.finally(() => {
    source.off("SIGINT", onInterrupt);
    source.off("SIGTERM", onTerminate);
    source.off("SIGHUP", onHangUp);
  });
}
