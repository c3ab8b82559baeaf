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
// Where the kernel cannot be told whom to give new connections to, the order is 2, 1, 3: all that is left
// on the old server when it stops are connections that were made in that very moment.

export interface SecureListenerOptions {
  http2: boolean;
  clock: Clock;
  log: Log;
  /** Tells the kernel to prefer the newest socket of a port; false if it cannot. */
  steer?: (port: number) => boolean;
}

export interface SecureListener {
  readonly host: string;
  readonly port: number;
  /** Serves these to new connections; nothing that is open is cut. At least one, as a rule others than before. */
  replace(identities: readonly Identity[]): void;
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
  { http2, clock, log, steer = steerToNewest }: SecureListenerOptions,
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

  function openFirst(): Generation {
    // A socket that shares its port does so with strangers too; one that does not finds them.
    if (address.port !== 0) void openOn(address, false).listener.stop();
    return openOn(address, true);
  }

  function openOn(where: ListenAddress, shared: boolean): Generation {
    const secure = { identities: wanted, carrier: "tcp", http2, shared } as const;
    let generation: Generation | undefined;
    const finished = (response: Response | undefined): Response | undefined => {
      // HTTP/2 knows no such header, and Bun leaves it out there.
      if (generation?.retiredAt !== undefined) response?.headers.set("connection", "close");
      return response;
    };
    generation = {
      retiredAt: undefined,
      listener: listen(
        where,
        sendLimit,
        {
          request(request, connection) {
            const answer = handlers.request(request, connection);
            return answer instanceof Promise ? answer.then(finished) : finished(answer);
          },
          socket: (ticket, socket) => handlers.socket(ticket, socket),
        },
        secure,
      ),
    };
    return generation;
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
  }

  /** The new one first: the kernel prefers it from the moment in which it listens. */
  function succeed(): void {
    releaseFormer();
    try {
      const next = openOn({ host, port }, true);
      former = current;
      former.retiredAt = clock.now();
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
    if (former.listener.pending === 0 || overdue) releaseFormer();
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
  }

  function takeOver(old: Generation): void {
    release(old);
    try {
      current = openOn({ host, port }, true);
    } catch (error) {
      log.error(`The port cannot be had again yet: ${messageOf(error)}`, { port });
      later(REOPEN_MS, () => takeOver(old));
    }
  }

  async function close(how: (listener: Listener) => Promise<void>): Promise<void> {
    closed = true;
    timer?.cancel();
    const open = new Set([current.listener, ...(former === undefined ? [] : [former.listener]), ...leaving]);
    await Promise.all([...open].map(how));
  }

  return {
    host,
    port,
    replace(next) {
      wanted = next;
      if (closed) return;
      if (canSteer) succeed();
      else if (current.retiredAt === undefined) {
        current.retiredAt = clock.now();
        later(RETIREMENT_MS, giveWay);
      }
    },
    finish: () => close((listener) => listener.finish()),
    stop: () => close((listener) => listener.stop()),
  };
}
