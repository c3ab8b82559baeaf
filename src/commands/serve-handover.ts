import type { Clock } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { ServiceManager } from "../base/service-manager.ts";
import type { RunningRelay } from "../server/index.ts";
import { CAN_HAND_OVER } from "../server/heritage.ts";
import type { Succession } from "./succession.ts";
import { EXECUTABLE, startSuccessor, type Successor } from "./successor.ts";

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

/** Has another process take the place of a relay, at most once. */
export class Handover {
  readonly #parts: HandoverParts;
  readonly #stopping = new AbortController();
  #isUnderWay = false;

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
    const { clock, log, manager, succession, stays } = this.#parts;
    log.info("Starting another process to take over", { file: EXECUTABLE });
    try {
      // Two processes on one port are as many as the kernel can be told of.
      await this.#unlessStopping(succession?.heritage.released);
      await this.#unlessStopping(relay.makeWay());
      manager.handingOver("Starts another process to take over");
      return await startSuccessor({
        clock,
        heritage: {
          ports: relay.ports(),
          models: relay.relay.core.registry.models(),
          generation: (succession?.generation ?? 0) + 1,
        },
        signal: this.#stopping.signal,
        ended: (how) => log.error(`The process that took over ${how}`),
      });
    } catch (thrown) {
      relay.stay();
      if (!this.#stopping.signal.aborted) stays();
      const action = thrown instanceof Problem ? thrown.action : undefined;
      log.error(action === undefined ? messageOf(thrown) : `${messageOf(thrown)} → ${action}`);
      return undefined;
    }
  }

  async #leave(relay: RunningRelay, successor: Successor): Promise<void> {
    const { log, manager, show, timeoutMs } = this.#parts;
    manager.handedOver();
    log.info("Another process has taken over; finishing what runs here", { pid: successor.pid });
    await show(relay.leave(timeoutMs(), () => successor.released()));
    log.info("Everything that ran here has ended", { pid: process.pid });
  }

  async #unlessStopping(awaited: Promise<void> | undefined): Promise<void> {
    const { signal } = this.#stopping;
    const stopped = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => stopped.resolve(), { once: true });
    await Promise.race([awaited, stopped.promise]);
    signal.throwIfAborted();
  }
}
