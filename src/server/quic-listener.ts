import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Identity } from "../tls/source.ts";
import type { ListenAddress } from "./config.ts";
import { listen, type Listener, type ListenerHandlers } from "./listener.ts";

// A UDP port cannot have two sockets while certificates change: the kernel would deal the packets of open
// connections out between them. The server is therefore replaced in a moment in which it has no request,
// which takes less than a millisecond; until then it goes on with the old certificate, which is valid for
// weeks yet, and no further client is invited. In the same way the port passes to a relay in another process,
// which asks for it until it is free.

/** How often a server that is to be replaced is asked whether it has a request. */
const LOOK_MS = 250;

export interface QuicListener {
  /** Whether clients may be told of it now. */
  readonly inviting: boolean;
  replace(identities: readonly Identity[]): void;
  /** Invites nobody, and lets go of the port in the first moment without a request. */
  retire(): void;
  finish(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Opens a UDP port for HTTP/3.
 *
 * @param address with the port of the TCP listener, under which clients look for it
 * @param isTakenOver whether another process may have the port for a while yet
 * @throws {Problem} if the port cannot be had
 */
export function listenOnQuic(
  address: ListenAddress,
  sendLimit: number,
  handlers: ListenerHandlers,
  identities: readonly Identity[],
  { clock, log, isTakenOver = false }: { clock: Clock; log: Log; isTakenOver?: boolean },
): QuicListener {
  let wanted = identities;
  let timer: Timer | undefined;
  let closed = false;
  let retired = false;
  let server: Listener | undefined = isTakenOver ? openWhenFree() : open();

  function open(): Listener {
    const secure = { identities: wanted, carrier: "quic", http2: false } as const;
    return listen(address, sendLimit, handlers, { secure });
  }

  function openWhenFree(): Listener | undefined {
    timer = undefined;
    if (closed || retired) return undefined;
    try {
      return open();
    } catch {
      // The process that had the port serves what it has there first.
      timer = clock.after(LOOK_MS, () => {
        server = openWhenFree();
      });
      return undefined;
    }
  }

  function change(): void {
    timer = undefined;
    if (closed) return;
    if (server !== undefined && server.pending > 0) {
      timer = clock.after(LOOK_MS, change);
      return;
    }
    // A graceful stop would hold the port until the last connection has timed out.
    void server?.stop();
    server = undefined;
    if (retired) return;
    try {
      server = open();
    } catch (error) {
      log.error(`HTTP/3 is off until its port can be had again: ${messageOf(error)}`, { port: address.port });
      timer = clock.after(LOOK_MS * 4, change);
    }
  }

  async function close(how: (listener: Listener) => Promise<void>): Promise<void> {
    closed = true;
    timer?.cancel();
    if (server !== undefined) await how(server);
  }

  return {
    get inviting() {
      return !closed && !retired && timer === undefined;
    },
    replace(next) {
      wanted = next;
      if (timer === undefined) change();
    },
    retire() {
      retired = true;
      if (timer === undefined) change();
    },
    finish: () => close((listener) => listener.finish()),
    stop: () => close((listener) => listener.stop()),
  };
}
