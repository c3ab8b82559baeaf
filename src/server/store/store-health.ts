import type { Clock, Timer } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import { StoreError, type StoreErrorCode } from "./store-error.ts";

/** Between two looks whether trouble is over, ms. */
const PROBE_MS = 500;

/** Whether the database serves. */
export interface StoreHealth {
  ok: boolean;
  /** When that began, in ms since the epoch. */
  since: number;
  /** What is wrong, for the operator; empty while all is well. */
  reason: string;
  code: StoreErrorCode | undefined;
}

export interface HealthTools {
  clock: Clock;
  log: Log;
  /** Writes to the database. @throws {StoreError} */
  probe: () => Promise<unknown>;
  changed?: (health: StoreHealth) => void;
}

/**
 * Knows from every call whether the database serves. After a failure only a write shows that it does again (a
 * full disk can be read), so one is tried until it succeeds.
 */
export class HealthKeeper {
  readonly #tools: HealthTools;
  #health: StoreHealth;
  #probing: Timer | undefined;
  #isClosed = false;

  constructor(tools: HealthTools) {
    this.#tools = tools;
    this.#health = { ok: true, since: tools.clock.wall(), reason: "", code: undefined };
  }

  get current(): StoreHealth {
    return this.#health;
  }

  onFailure(error: StoreError): void {
    if (!error.isOfDatabase || this.#isClosed) return;
    const { code, message, action } = error;
    if (this.#health.ok) {
      this.#tools.log.warn(
        `${message}; relaying goes on, keys that are known hold for a while, and usage waits in a file`,
        { code, action },
      );
      this.#set({ ok: false, since: this.#tools.clock.wall(), reason: message, code });
    } else if (this.#health.code !== code) this.#set({ ...this.#health, reason: message, code });
    this.#probing ??= this.#tools.clock.after(PROBE_MS, () => void this.#probe());
  }

  close(): void {
    this.#isClosed = true;
    this.#probing?.cancel();
  }

  #set(health: StoreHealth): void {
    this.#health = health;
    this.#tools.changed?.(health);
  }

  async #probe(): Promise<void> {
    this.#probing = undefined;
    try {
      await this.#tools.probe();
    } catch (thrown) {
      if (thrown instanceof StoreError) this.onFailure(thrown);
      return;
    }
    // Another call failed meanwhile.
    if (this.#probing !== undefined || this.#isClosed) return;
    const now = this.#tools.clock.wall();
    this.#tools.log.info("The database serves again", { afterMs: now - this.#health.since });
    this.#set({ ok: true, since: now, reason: "", code: undefined });
  }
}
