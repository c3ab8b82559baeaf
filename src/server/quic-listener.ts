import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import type { Identity } from "../tls/source.ts";
import type { ListenAddress } from "./config.ts";
import { listen, type Listener, type ListenerHandlers } from "./listener.ts";

// A UDP port cannot have two sockets while certificates change: the kernel would deal the packets of open
// connections out between them. The server is therefore replaced in a moment in which it has no request,
// which takes less than a millisecond; until then it goes on with the old certificate, which is valid for
// weeks yet, and no further client is invited.

/** How often a server that is to be replaced is asked whether it has a request. */
const LOOK_MS = 250;

export interface QuicListener {
  /** Whether clients may be told of it now. */
  readonly inviting: boolean;
  replace(identities: readonly Identity[]): void;
  finish(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Opens a UDP port for HTTP/3.
 *
 * @param address with the port of the TCP listener, under which clients look for it
 * @throws {Problem} if the port cannot be had
 */
export function listenOnQuic(
  address: ListenAddress,
  sendLimit: number,
  handlers: ListenerHandlers,
  identities: readonly Identity[],
  { clock, log }: { clock: Clock; log: Log },
): QuicListener {
  let wanted = identities;
  let server: Listener | undefined = open();
  let timer: Timer | undefined;
  let closed = false;

  function open(): Listener {
    const secure = { identities: wanted, carrier: "quic", http2: false, shared: false } as const;
    return listen(address, sendLimit, handlers, secure);
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
      return !closed && timer === undefined;
    },
    replace(next) {
      wanted = next;
      if (timer === undefined) change();
    },
    finish: () => close((listener) => listener.finish()),
    stop: () => close((listener) => listener.stop()),
  };
}
