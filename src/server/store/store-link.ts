import { backoffMs, type BackoffPolicy } from "../../base/backoff.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { formatDuration } from "../../base/duration.ts";
import type { Log } from "../../base/log.ts";
import type { DatabaseSettings } from "./database.ts";
import { StoreError } from "./store-error.ts";
import type { CallArgs, CallName, CallResult, FromThread } from "./store-messages.ts";
import type { StartThread, Thread } from "./thread.ts";

/** Between the end of a thread and the next one. */
const RESTART: BackoffPolicy = { baseMs: 200, capMs: 10_000 };
/** The thread keeps to a call's time and says why it is over; one that is stuck in the disk says nothing. */
const GRACE_MS = 250;
/** For what runs when the store is closed. */
const CLOSE_MS = 2_000;
/** Calls without an answer; more would only grow a queue that nobody waits for. */
const MAX_CALLS = 1_000;

export interface LinkTools {
  clock: Clock;
  log: Log;
  random: () => number;
  startThread: StartThread;
}

interface Waiting {
  resolve: (value: unknown) => void;
  reject: (error: StoreError) => void;
  timer: Timer;
}

/** Calls to the store's thread, with a deadline each; starts another thread when one dies. */
export class StoreLink {
  readonly #settings: DatabaseSettings;
  readonly #location: string;
  readonly #tools: LinkTools;
  readonly #waiting = new Map<number, Waiting>();
  #thread: Thread | undefined;
  #restart: Timer | undefined;
  #deaths = 0;
  #lastId = 0;
  #isClosed = false;

  constructor(settings: DatabaseSettings, location: string, tools: LinkTools) {
    this.#settings = settings;
    this.#location = location;
    this.#tools = tools;
    this.#start();
  }

  /** @throws {StoreError} */
  async call<N extends CallName>(
    name: N,
    args: CallArgs<N>,
    timeoutMs: number = this.#settings.timeoutMs,
  ): Promise<CallResult<N>> {
    if (this.#isClosed) throw this.#closed();
    const thread = this.#thread;
    if (thread === undefined) throw this.#unavailable("its thread has ended and is started again");
    if (this.#waiting.size >= MAX_CALLS) throw this.#unavailable(`${MAX_CALLS} calls wait for it already`);
    const id = ++this.#lastId;
    const { promise, resolve, reject } = Promise.withResolvers<CallResult<N>>();
    const timer = this.#tools.clock.after(timeoutMs + GRACE_MS, () => {
      this.#waiting.delete(id);
      const why = `its disk or server has not answered within ${formatDuration(timeoutMs)}`;
      reject(new StoreError("store_timeout", `Cannot use the database "${this.#location}": ${why}`));
    });
    this.#waiting.set(id, { resolve: (value) => resolve(value as CallResult<N>), reject, timer });
    thread.tell({ call: { id, name, args, timeoutMs } });
    return promise;
  }

  /** Lets what runs finish, for a while. Calls that wait then reject. */
  async close(): Promise<void> {
    if (this.#isClosed) return;
    // A database that does not answer is left as it is: it is made for that.
    await this.call("close", [], CLOSE_MS).catch(() => {});
    this.#isClosed = true;
    this.#restart?.cancel();
    this.#thread?.stop();
    this.#thread = undefined;
    this.#rejectAll(this.#closed());
  }

  #start(): void {
    const thread = this.#tools.startThread({
      onReply: (reply) => this.#settle(reply),
      onFailure: (error) => this.#tools.log.error("The database's thread failed", { error }),
      onEnd: () => this.#onDeath(),
    });
    this.#thread = thread;
    thread.tell({ settings: this.#settings });
  }

  #onDeath(): void {
    this.#thread = undefined;
    if (this.#isClosed) return;
    this.#rejectAll(this.#unavailable("its thread has ended"));
    this.#deaths++;
    const delayMs = backoffMs(this.#deaths, RESTART, this.#tools.random);
    this.#restart = this.#tools.clock.after(delayMs, () => this.#start());
  }

  #settle(reply: FromThread): void {
    this.#deaths = 0;
    const waiting = this.#waiting.get(reply.id);
    // Its time was over before.
    if (waiting === undefined) return;
    this.#waiting.delete(reply.id);
    waiting.timer.cancel();
    if ("error" in reply) {
      const { code, message, action } = reply.error;
      waiting.reject(new StoreError(code, message, action === undefined ? {} : { action }));
    } else waiting.resolve(reply.value);
  }

  #rejectAll(error: StoreError): void {
    for (const { reject, timer } of this.#waiting.values()) {
      timer.cancel();
      reject(error);
    }
    this.#waiting.clear();
  }

  #unavailable(why: string): StoreError {
    return new StoreError("store_unavailable", `Cannot use the database "${this.#location}": ${why}`);
  }

  #closed(): StoreError {
    return new StoreError("store_closed", `Cannot use the database "${this.#location}": it was closed`);
  }
}
