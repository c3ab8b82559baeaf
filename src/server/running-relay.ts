import type { Clock } from "../base/clock.ts";
import type { ReloadableConfig } from "./config.ts";
import type { Departure } from "./departure.ts";
import type { Ports } from "./heritage.ts";
import type { Listener } from "./listener.ts";
import type { Relay } from "./relay.ts";
import { RETIREMENT_MS } from "./secure-listener.ts";
import { connectionsOn } from "./socket-table.ts";
import type { Door } from "./tls-door.ts";

/** A relay that is reachable. */
export interface RunningRelay {
  readonly relay: Relay;
  /** Those that are open now. */
  ports(): Ports;
  reload(changed: Partial<ReloadableConfig>): void;
  /** Takes no new work, lets running requests finish within the drain time, and closes. Idempotent. */
  drain(): Promise<void>;
  /** Resolves when another process may open the ports; nothing of them changes until `stay`. */
  makeWay(): Promise<void>;
  /** No other process took the place. */
  stay(): void;
  /**
   * Leaves everything new to the process that has opened the ports, serves what is here, and closes.
   *
   * @param timeoutMs time for what runs
   * @param released called when nothing listens here any more
   */
  leave(timeoutMs: number, released: () => void): Promise<void>;
  /** Closes at once. */
  stop(): Promise<void>;
}

/** What is behind the doors. */
export interface Household {
  relay: Relay;
  reload(changed: Partial<ReloadableConfig>): void;
  /** The workers go to another process. */
  depart(timeoutMs: number): Departure;
  /** Open requests that end by themselves never, and for which nobody waits. */
  onlookers(): number;
  /** Lets go of what was kept of requests that have ended, within so many ms. */
  finish(limitMs: number): Promise<void>;
}

/** Time that answers which are complete get to leave, in ms. */
const LINGER_MS = 1_000;
/** Time that what is kept of ended requests gets to leave, in ms. */
const FINISH_MS = 2_000;
/** How often a relay that leaves looks what is left. */
const LOOK_MS = 250;
/**
 * The shortest time for which a port is listened on after its handover. The kernel holds a connection back
 * until its client says something, for a second (TCP_DEFER_ACCEPT), and those that it has begun for this socket
 * are reset with it.
 */
const LEAST_RETIREMENT_MS = 3_000;

/** A plain port as a door. */
export function plainDoor(listener: Listener): Door {
  return {
    ports: { plain: listener.port },
    get pending() {
      return listener.pending;
    },
    get idle() {
      const connections = connectionsOn(listener.port);
      return connections === undefined ? undefined : connections - listener.sockets - listener.pending;
    },
    freeze: () => Promise.resolve(),
    thaw() {},
    retire: () => listener.retire(),
    finish: () => listener.finish(),
    stop: () => listener.stop(),
  };
}

export function runBehind(doors: readonly Door[], household: Household, clock: Clock): RunningRelay {
  const { relay } = household;
  let drained: Promise<void> | undefined;

  async function drain(timeoutMs: number): Promise<void> {
    const closed = Promise.all(doors.map((door) => door.finish())).then(() => true);
    const deadline = clock.now() + timeoutMs;
    await relay.drain(timeoutMs);
    // The last bytes may still be on their way, and a slow client has the rest of the time to read them.
    for (;;) {
      const lingered = Promise.withResolvers<false>();
      const limit = clock.after(LINGER_MS, () => lingered.resolve(false));
      const everybodyLeft = await Promise.race([closed, lingered.promise]);
      limit.cancel();
      if (everybodyLeft || relay.budget.held === 0 || clock.now() >= deadline) break;
    }
    await stopDoors();
    await household.finish(FINISH_MS);
  }

  async function leave(timeoutMs: number, released: () => void): Promise<void> {
    const begun = clock.now();
    const deadline = begun + timeoutMs;
    for (const door of doors) door.retire();
    const departure = household.depart(timeoutMs);
    await until(() => {
      departure.look();
      const passedMs = clock.now() - begun;
      const nobodyRests = passedMs >= LEAST_RETIREMENT_MS && doors.every((door) => (door.idle ?? 1) <= 0);
      return nobodyRests || passedMs >= RETIREMENT_MS;
    });
    for (const door of doors) void door.finish();
    released();
    await until(() => {
      departure.look();
      // Those that the relay does not have yet, as they are still being sent, count as well.
      const pending = doors.reduce((sum, door) => sum + door.pending, 0) - household.onlookers();
      return (relay.core.requestCount === 0 && pending <= 0) || clock.now() >= deadline;
    });
    await (drained ??= drain(Math.max(0, deadline - clock.now())));
  }

  /** Looks now and then, until it is so or the relay is stopped. */
  async function until(isSo: () => boolean): Promise<void> {
    for (;;) {
      if (drained !== undefined || isSo()) return;
      const { promise, resolve } = Promise.withResolvers<void>();
      clock.after(LOOK_MS, resolve);
      await promise;
    }
  }

  const stopDoors = () => Promise.all(doors.map((door) => door.stop()));

  return {
    relay,
    ports: () => Object.assign({}, ...doors.map((door) => door.ports)) as Ports,
    reload: (changed) => household.reload(changed),
    drain: () => (drained ??= drain(relay.config.drainTimeoutMs)),
    makeWay: async () => void (await Promise.all(doors.map((door) => door.freeze()))),
    stay() {
      for (const door of doors) door.thaw();
    },
    leave,
    stop: async () => {
      await relay.drain(0);
      await stopDoors();
      await household.finish(0);
    },
  };
}
