import type { Clock, Timer } from "../base/clock.ts";

/** The parts of a WebSocket client that tell how much of what was sent still waits here. */
export interface SendingSocket {
  readonly bufferedAmount: number;
  ping(payload: string): void;
}

/** Above this much unsent data, the jobs stop reading from their backends. */
export const SEND_HIGH_BYTES = 1024 * 1024;
/** From here on a ping follows the data, so that its pong arrives before the buffer has run dry. */
const SEND_MARK_BYTES = SEND_HIGH_BYTES / 2;
/** A relay whose pongs are lost is looked at this often, only while something waits. */
const FALLBACK_MS = 1_000;

/**
 * Holds the readers back while the relay is slower than the backends. A WebSocket client has no event
 * for "drained", but a ping travels behind the data: its pong says that all before it has left.
 */
export interface SendGate {
  /** To be called after each message that was handed to the socket. */
  sent(): void;
  /** To be called when a pong has come, or the link has ended. */
  look(): void;
  /** `undefined` while data may flow, else a promise for the moment when it may again. */
  wait(): Promise<void> | undefined;
  /** Lets everyone go: the link has ended. */
  open(): void;
}

export function createSendGate(socket: SendingSocket, clock: Clock): SendGate {
  let asked = false;
  let ended = false;
  let gate: PromiseWithResolvers<void> | undefined;
  let fallback: Timer | undefined;

  function ask(): void {
    if (asked || ended || socket.bufferedAmount <= SEND_MARK_BYTES) return;
    asked = true;
    socket.ping("drain");
  }

  function release(): void {
    fallback?.cancel();
    fallback = undefined;
    gate?.resolve();
    gate = undefined;
  }

  function look(): void {
    asked = false;
    if (ended || socket.bufferedAmount <= SEND_HIGH_BYTES) release();
    ask();
  }

  function watch(): void {
    fallback = clock.after(FALLBACK_MS, () => {
      look();
      if (gate !== undefined) watch();
    });
  }

  return {
    sent: ask,
    look,
    wait() {
      if (ended || socket.bufferedAmount <= SEND_HIGH_BYTES) return undefined;
      if (gate === undefined) {
        gate = Promise.withResolvers<void>();
        ask();
        watch();
      }
      return gate.promise;
    },
    open() {
      ended = true;
      release();
    },
  };
}
