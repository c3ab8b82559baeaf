import { EXIT } from "./failure.ts";

type StopSignal = "SIGINT" | "SIGTERM" | "SIGHUP";
type HeardSignal = StopSignal | "SIGUSR2";

/** The part of `process` that signals come from. */
export interface SignalSource {
  on(signal: HeardSignal, listener: () => void): unknown;
  off(signal: HeardSignal, listener: () => void): unknown;
}

export interface StopHandlers {
  /** First SIGTERM or SIGINT: finish what runs. Its end is the end of the command. */
  onFirst(signal: StopSignal): Promise<void>;
  /** A second one while `onFirst` still runs; the command ends as soon as this returns. */
  onSecond?(signal: StopSignal): void;
  /** SIGHUP. Without it a hang-up stops the command as SIGTERM does, since it would kill it anyway. */
  onReload?(): void;
  /**
   * SIGUSR2: let another process take this one's place. Without it the signal kills, as it does anyway.
   *
   * @returns whether one has, and nothing is left to do here: the command ends
   */
  onHandOver?(): Promise<boolean>;
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
  const onHandOver = (): void => {
    if (stopping) return;
    handlers.onHandOver?.().then((isDone) => (isDone ? resolve(0) : undefined), reject);
  };
  const handsOver = handlers.onHandOver !== undefined && process.platform !== "win32";
  source.on("SIGINT", onInterrupt);
  source.on("SIGTERM", onTerminate);
  if (handsOver) source.on("SIGUSR2", onHandOver);
  // On Windows it means that the console window closes, and nothing can be done in that time.
  if (process.platform !== "win32") source.on("SIGHUP", onHangUp);
  return promise.finally(() => {
    source.off("SIGINT", onInterrupt);
    source.off("SIGTERM", onTerminate);
    source.off("SIGHUP", onHangUp);
    if (handsOver) source.off("SIGUSR2", onHandOver);
  });
}
