import type { Clock, Timer } from "../../base/clock.ts";
import type { UsageRow } from "./usage-store.ts";

/** Rows that wait for somebody who does not read. */
const MAX_WAITING = 500;
const PING_MS = 15_000;

const encoder = new TextEncoder();

/** Shows requests to whoever looks on, as they end. */
export class RequestFeed {
  readonly #clock: Clock;
  readonly #followers = new Set<(row: UsageRow) => void>();

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  get followers(): number {
    return this.#followers.size;
  }

  add(row: UsageRow): void {
    for (const tell of this.#followers) tell(row);
  }

  /**
   * A stream of server-sent events, one for each request that `shows` lets through. Who reads too slowly
   * is told how many were left out.
   */
  follow(shows: (row: UsageRow) => boolean, view: (row: UsageRow) => object): ReadableStream<Uint8Array> {
    let tell: (row: UsageRow) => void;
    let ping: Timer;
    let missed = 0;
    const clock = this.#clock;
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          const send = (text: string): boolean => {
            if ((controller.desiredSize ?? 0) <= 0) return false;
            controller.enqueue(encoder.encode(text));
            return true;
          };
          tell = (row) => {
            if (!shows(row)) return;
            if (missed > 0 && send(`event: missed\ndata: {"requests":${missed}}\n\n`)) missed = 0;
            if (!send(`id: ${row.id}\ndata: ${JSON.stringify(view(row))}\n\n`)) missed++;
          };
          const again = (): void => {
            send(": ping\n\n");
            ping = clock.after(PING_MS, again);
          };
          // A proxy passes the head on with the first byte.
          again();
          this.#followers.add(tell);
        },
        cancel: () => {
          ping.cancel();
          this.#followers.delete(tell);
        },
      },
      { highWaterMark: MAX_WAITING },
    );
  }
}
