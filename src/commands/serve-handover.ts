import { backoffMs } from "../base/backoff.ts";
import type { Clock } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ServiceManager } from "../base/service-manager.ts";
import { wait } from "../base/wait.ts";
import type { RunningRelay } from "../server/index.ts";
import { CAN_HAND_OVER } from "../server/heritage.ts";
import type { Succession } from "./succession.ts";
import { EXECUTABLE, startSuccessor, type Successor, type SuccessorParts } from "./successor.ts";

export interface HandoverParts {
  clock: Clock;
  log: Log;
  manager: ServiceManager;
  /** How this process came to its own place. */
  succession: Succession | undefined;
  /** Nobody has taken the place: to be told to whom the other process may have told something else. */
  stays: (this: void) => void;
  /** Shows what is left while a relay finishes. */
  show: (this: void, finished: Promise<void>) => Promise<void>;
  /** Time for what runs, in ms. */
  timeoutMs: (this: void) => number;
}

/** Between two tries to start a process in the place of one that has died. */
const RETRY = { baseMs: 500, capMs: 15_000 };

/** Has another process take the place of a relay, and one more for each that dies while this one still runs. */
export class Handover {
  readonly #parts: HandoverParts;
  readonly #stopping = new AbortController();
  /** Aborted when nothing is left to do here. */
  readonly #done = new AbortController();
  #isUnderWay = false;
  /** As it was when the place was given away: later there is less of it to be seen. */
  #heritage: SuccessorParts["heritage"] | undefined;
  /** Whoever has the place now; `undefined` while nobody has. */
  #successor: Successor | undefined;
  /** Nothing listens here any more. */
  #isReleased = false;
  /** Another process is being started in the place of one that has died. */
  #replacing: Promise<void> = Promise.resolve();

  constructor(parts: HandoverParts) {
    this.#parts = parts;
  }

  /** Whether another process is about to have, or has, the relay's place. */
  get isUnderWay(): boolean {
    return this.#isUnderWay;
  }

  /** The relay is to stop: nobody is started any more, and who has just been started is ended. */
  abandon(): void {
    this.#stopping.abort();
  }

  /** @returns whether another process has taken over and nothing is left to do here */
  async begin(relay: RunningRelay): Promise<boolean> {
    const { log } = this.#parts;
    if (!CAN_HAND_OVER) {
      log.warn("Only on Linux can another process take over a port without a cut: stop and start the relay");
      return false;
    }
    if (this.#isUnderWay) {
      log.warn("Another process is taking over already");
      return false;
    }
    this.#isUnderWay = true;
    try {
      const successor = await this.#startSuccessor(relay);
      if (successor === undefined) return false;
      await this.#leave(relay, successor);
      return true;
    } finally {
      this.#isUnderWay = false;
    }
  }

  async #startSuccessor(relay: RunningRelay): Promise<Successor | undefined> {
    const { log, manager, succession, stays } = this.#parts;
    log.info("Starting another process to take over", { file: EXECUTABLE });
    try {
      // Two processes on one port are as many as the kernel can be told of.
      await this.#unlessStopping(succession?.heritage.released);
      await this.#unlessStopping(relay.makeWay());
      manager.handingOver("Starts another process to take over");
      return await this.#start(relay);
    } catch (thrown) {
      this.#heritage = undefined;
      relay.stay();
      if (!this.#stopping.signal.aborted) stays();
      log.error(withAction(thrown));
      return undefined;
    }
  }

  async #leave(relay: RunningRelay, successor: Successor): Promise<void> {
    const { log, show, timeoutMs } = this.#parts;
    this.#hasTakenOver(successor);
    const released = (): void => {
      this.#isReleased = true;
      this.#successor?.released();
    };
    await show(relay.leave(timeoutMs(), released));
    this.#done.abort();
    await this.#replacing;
    log.info("Everything that ran here has ended", { pid: process.pid });
  }

  #hasTakenOver(successor: Successor): void {
    const { log, manager } = this.#parts;
    this.#successor = successor;
    manager.handedOver();
    if (this.#isReleased) successor.released();
    log.info("Another process has taken over; finishing what runs here", { pid: successor.pid });
  }

  #start(relay: RunningRelay): Promise<Successor> {
    const { clock, succession } = this.#parts;
    this.#heritage ??= {
      ports: relay.ports(),
      models: relay.relay.core.registry.models(),
      generation: (succession?.generation ?? 0) + 1,
    };
    return startSuccessor({
      clock,
      heritage: this.#heritage,
      signal: this.#stopping.signal,
      ended: (how, isWell) => this.#hasEnded(relay, how, isWell),
    });
  }

  /** What runs here may go on for an hour; nobody would be there for what is new. */
  #hasEnded(relay: RunningRelay, how: string, isWell: boolean): void {
    const { log, manager } = this.#parts;
    this.#successor = undefined;
    if (isWell || this.#stopping.signal.aborted || this.#done.signal.aborted) return;
    log.error(`The process that took over ${how}: starting another one`);
    manager.tookOver("Starts a process in the place of one that has died");
    this.#replacing = this.#replace(relay);
  }

  async #replace(relay: RunningRelay): Promise<void> {
    const { clock, log } = this.#parts;
    const over = AbortSignal.any([this.#done.signal, this.#stopping.signal]);
    for (let attempt = 1; !over.aborted; attempt++) {
      try {
        return this.#hasTakenOver(await this.#start(relay));
      } catch (thrown) {
        // What it says of going on as if nothing had happened is not so here.
        log.error(messageOf(thrown));
      }
      try {
        await wait(clock, backoffMs(attempt, RETRY, Math.random), over);
      } catch {
        return;
      }
    }
  }

  async #unlessStopping(awaited: Promise<void> | undefined): Promise<void> {
    const { signal } = this.#stopping;
    const stopped = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => stopped.resolve(), { once: true });
    await Promise.race([awaited, stopped.promise]);
    signal.throwIfAborted();
  }
}

function withAction(thrown: unknown): string {
  const action = thrown instanceof Problem ? thrown.action : undefined;
  return action === undefined ? messageOf(thrown) : `${messageOf(thrown)} → ${action}`;
}
