import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Identity } from "../tls/source.ts";
import type { ListenAddress } from "./config.ts";
import { listen, type Listener, type ListenerHandlers } from "./listener.ts";
import { steerToNewest } from "./port-steering.ts";

// Bun cannot give a listening server another certificate (oven-sh/bun#43815), so a new server takes its
// place, and the old one goes on with what it has:
//
//  1. The new server listens on the same port, and the kernel gives it every new connection from then on.
//  2. The old one retires: it accepts what the kernel had queued for it, and each further HTTP/1.1 answer
//     says `connection: close`, so that its clients leave between two requests and not within one.
//  3. When nothing has run on it for as long as an idle connection lives, it is stopped. WebSockets outlive
//     even that.
//
// A relay in another process takes a port over in the same way. The kernel is told of two sockets and no
// more: no certificate is changed while a second process listens, and a port is handed over with one socket.
//
// Where the kernel cannot be told whom to give new connections to, the order is 2, 1, 3: all that is left
// on the old server when it stops are connections that were made in that very moment.

export interface SecureListenerOptions {
  http2: boolean;
  clock: Clock;
  log: Log;
  /** Tells the kernel to prefer the newest socket of a port; false if it cannot. */
  steer?: (port: number) => boolean;
  /** Resolves when the process whose port this was listens there no more; absent where there is none. */
  released?: Promise<void> | undefined;
}

export interface SecureListener {
  readonly host: string;
  readonly port: number;
  /** Requests that have no whole answer yet, and open WebSockets. */
  readonly pending: number;
  readonly sockets: number;
  /** Serves these to new connections; nothing that is open is cut. At least one, as a rule others than before. */
  replace(identities: readonly Identity[]): void;
  /** Resolves when one socket is all that listens. From then on, and until `thaw`, it stays the same one. */
  freeze(): Promise<void>;
  thaw(): void;
  /** From now on each HTTP/1.1 answer asks its client to leave. */
  retire(): void;
  finish(): Promise<void>;
  stop(): Promise<void>;
}

/** A little longer than the listener keeps a connection without a request. */
export const RETIREMENT_MS = 45_000;
/** A server that always has a request is stopped after this all the same; what runs then still ends. */
const LONGEST_RETIREMENT_MS = 3_600_000;
/** Until a port that could not be had is asked for again. */
const REOPEN_MS = 1_000;

/** One server, and whether it has a successor or waits for one. */
interface Generation {
  listener: Listener;
  retiredAt: number | undefined;
}

/**
 * Opens a port for HTTPS.
 *
 * @throws {Problem} if the address cannot be had, or a certificate is of no use
 */
export function listenSecurely(
  address: ListenAddress,
  sendLimit: number,
  handlers: ListenerHandlers,
  identities: readonly Identity[],
  { http2, clock, log, steer = steerToNewest, released }: SecureListenerOptions,
): SecureListener {
  let wanted = identities;
  let current = openFirst();
  const { host, port } = current.listener;
  const canSteer = steer(port);
  /** Retired, and not stopped yet: one at most, for the kernel is told of two sockets. */
  let former: Generation | undefined;
  /** Stopped, but not without connections. */
  const leaving = new Set<Listener>();
  let timer: Timer | undefined;
  let closed = false;
  /** Another process listens as well, or is about to. */
  let frozen = released !== undefined;
  let changedMeanwhile = false;
  /** Waits for there to be one socket. */
  let settled: (() => void) | undefined;
  void released?.then(thaw);

  function openFirst(): Generation {
    // A socket that shares its port does so with strangers too; one that does not finds them.
    if (address.port !== 0 && released === undefined) void openOn(address, false).listener.stop();
    return openOn(address, true);
  }

  function openOn(where: ListenAddress, shared: boolean): Generation {
    const secure = { identities: wanted, carrier: "tcp", http2 } as const;
    return { retiredAt: undefined, listener: listen(where, sendLimit, handlers, { secure, shared }) };
  }

  function retire(generation: Generation): void {
    generation.retiredAt = clock.now();
    generation.listener.retire();
  }

  function replace(next: readonly Identity[]): void {
    wanted = next;
    if (closed) return;
    if (frozen) changedMeanwhile = true;
    else if (canSteer) succeed();
    else if (current.retiredAt === undefined) {
      retire(current);
      later(RETIREMENT_MS, giveWay);
    }
  }

  function thaw(): void {
    frozen = false;
    if (changedMeanwhile) replace(wanted);
    changedMeanwhile = false;
  }

  function later(delayMs: number, act: () => void): void {
    timer?.cancel();
    timer = closed ? undefined : clock.after(delayMs, act);
  }

  function release(generation: Generation): void {
    const { listener } = generation;
    leaving.add(listener);
    void listener.finish().then(() => leaving.delete(listener));
  }

  function releaseFormer(): void {
    if (former !== undefined) release(former);
    former = undefined;
    settled?.();
  }

  /** The new one first: the kernel prefers it from the moment in which it listens. */
  function succeed(): void {
    if (frozen) {
      changedMeanwhile = true;
      return;
    }
    releaseFormer();
    try {
      const next = openOn({ host, port }, true);
      former = current;
      retire(former);
      current = next;
      later(RETIREMENT_MS, watchFormer);
    } catch (error) {
      log.error(`The new certificate cannot be served yet: ${messageOf(error)}`, { port });
      later(REOPEN_MS, succeed);
    }
  }

  function watchFormer(): void {
    if (former?.retiredAt === undefined) return;
    const overdue = clock.now() - former.retiredAt >= LONGEST_RETIREMENT_MS;
    if (former.listener.pending === 0 || overdue || frozen) releaseFormer();
    else later(RETIREMENT_MS, watchFormer);
  }

  /** The old one has told its clients to leave meanwhile. */
  function giveWay(): void {
    const old = current;
    try {
      current = openOn({ host, port }, true);
    } catch {
      // Not every system lets two sockets listen on one port: then there is none for a moment.
      return takeOver(old);
    }
    release(old);
    settled?.();
  }

  function takeOver(old: Generation): void {
    release(old);
    try {
      current = openOn({ host, port }, true);
      settled?.();
    } catch (error) {
      log.error(`The port cannot be had again yet: ${messageOf(error)}`, { port });
      later(REOPEN_MS, () => takeOver(old));
    }
  }

  async function close(how: (listener: Listener) => Promise<void>): Promise<void> {
    closed = true;
    timer?.cancel();
    await Promise.all([...listeners()].map(how));
  }

  function listeners(): Set<Listener> {
    return new Set([current.listener, ...(former === undefined ? [] : [former.listener]), ...leaving]);
  }

  const sum = (of: "pending" | "sockets"): number =>
    [...listeners()].reduce((total, listener) => total + listener[of], 0);

  return {
    host,
    port,
    get pending() {
      return sum("pending");
    },
    get sockets() {
      return sum("sockets");
    },
    replace,
    async freeze() {
      frozen = true;
      if (former === undefined && current.retiredAt === undefined) return;
      await new Promise<void>((resolve) => {
        settled = resolve;
      });
    },
    thaw,
    retire() {
      for (const listener of listeners()) listener.retire();
    },
    finish: () => close((listener) => listener.finish()),
    stop: () => close((listener) => listener.stop()),
  };
}
