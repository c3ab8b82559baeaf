import type { FromThread, ToThread } from "./store-messages.ts";

/** A thread that works for the store. */
export interface Thread {
  tell(message: ToThread): void;
  /** Ends it, whatever it does, unless the system itself keeps it. */
  stop(): void;
}

export interface ThreadEvents {
  onReply(reply: FromThread): void;
  /** It threw what nobody caught, and ends. */
  onFailure(message: string): void;
  onEnd(): void;
}

export type StartThread = (events: ThreadEvents) => Thread;

declare const MODELRELAY_STORE_THREAD: string | undefined;

/** Where `store-thread.ts` is; in an executable all modules but that one stand in one file (scripts/build.ts). */
const threadUrl = new URL(
  typeof MODELRELAY_STORE_THREAD === "string" ? MODELRELAY_STORE_THREAD : "./store-thread.ts",
  import.meta.url,
);

export function startStoreThread(events: ThreadEvents): Thread {
  const worker = new Worker(threadUrl.href);
  worker.addEventListener("message", ({ data }: MessageEvent<FromThread>) => events.onReply(data));
  worker.addEventListener("error", ({ message }) => events.onFailure(message));
  worker.addEventListener("close", () => events.onEnd());
  return {
    // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread has no origin
    tell: (message) => worker.postMessage(message),
    stop: () => worker.terminate(),
  };
}
