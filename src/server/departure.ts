import { HANDOVER } from "../protocol/messages.ts";
import type { Relay } from "./relay.ts";

/**
 * Sends a relay's workers to the process that has its address now. One that can keep two links goes at once,
 * and serves on here until the end. Any other can be in one place only: it is let go when it holds nothing
 * and nothing waits, as the time that a drain grants is one in which many workers cut what still runs.
 */
export class Departure {
  readonly #relay: Relay;
  readonly #timeoutMs: number;
  /** Workers that were told to go, by the relay's id for them. */
  readonly #told = new Set<string>();

  constructor(relay: Relay, timeoutMs: number) {
    this.#relay = relay;
    this.#timeoutMs = timeoutMs;
    relay.tell({ type: "relay_leaving" });
    for (const session of relay.sessions.values()) {
      if (!session.canMove) continue;
      this.#told.add(session.id);
      session.codec.drain(HANDOVER, timeoutMs);
    }
    this.look();
  }

  /** To be called now and then: lets go of workers that are not needed any more. */
  look(): void {
    const { core, sessions } = this.#relay;
    if (core.queueLength > 0) return;
    for (const session of sessions.values()) {
      if (this.#told.has(session.id)) continue;
      this.#relay.tell({ type: "worker_draining", workerId: session.id });
      if ((core.registry.get(session.id)?.held.size ?? 0) > 0) continue;
      this.#told.add(session.id);
      session.codec.drain("server_shutdown", this.#timeoutMs);
    }
  }
}
