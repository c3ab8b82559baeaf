import type { Outcome } from "../../base/check-result.ts";
import type { Timer } from "../../base/clock.ts";
import { formatDuration } from "../../base/duration.ts";
import { LINK_CHECK_PATH } from "../../protocol/paths.ts";
import { secureDial, ANSWER_MS, type Context } from "./context.ts";
import { within } from "./deadline.ts";
import { askRelay, noAnswer, notOffered, upgradeHeaders, urlOf } from "./relay-steps.ts";
import { Wire } from "./wire.ts";

/** How often it is said that the wait goes on. */
const PROGRESS_MS = 15_000;
const LONG_TIMEOUTS =
  "Raise the proxy's patience with silent connections (nginx: proxy_read_timeout 86400s and proxy_send_timeout 86400s; HAProxy: timeout tunnel 1d)";

const WIDEN =
  "Let the proxy pass upgrades on below /v1/worker/connect too (nginx: location /v1/worker/connect, without =), so that its patience with silent links can be tried";

/** Masked, as every frame of a client is (RFC 6455 §5.3); the mask of an empty payload does nothing. */
const PING = new Uint8Array([0x89, 0x80, 0, 0, 0, 0]);
const PONG = 0x8a;
const CLOSE = 0x88;

/** Holds a WebSocket open on which nothing is said, and looks whether it is still there afterwards. */
export async function checkIdleLink(context: Context, address: string): Promise<Outcome> {
  const { clock, waitMs } = context;
  const target = urlOf(context, LINK_CHECK_PATH, "wss");
  if (waitMs <= 0) return { target, ok: undefined, details: "not tried: --wait is 0" };
  const abort = new AbortController();
  try {
    const wire = await within(clock, ANSWER_MS, async (signal) => {
      const opened = await Wire.open(secureDial(context, address), abort.signal);
      signal.throwIfAborted();
      return opened;
    });
    const head = await within(clock, ANSWER_MS, () =>
      askRelay(context, wire, LINK_CHECK_PATH, upgradeHeaders()),
    );
    if (head.status === 404) return notOffered(target);
    if (head.status === 503 && head.headers.has("retry-after")) {
      return { target, ok: undefined, details: "not tried: too many such checks run there at once" };
    }
    if (head.status === 426) {
      return { target, ok: undefined, details: "not tried: upgrades are dropped here", action: WIDEN };
    }
    if (head.status !== 101) {
      return { target, ok: undefined, details: "not tried, since no upgrade goes through" };
    }
    return await hold(context, wire, head.rest, target);
  } catch (error) {
    return noAnswer(target, error);
  } finally {
    abort.abort();
  }
}

async function hold(context: Context, wire: Wire, rest: Buffer, target: string): Promise<Outcome> {
  const { clock, waitMs } = context;
  const startedAt = clock.now();
  const ended = (): Outcome => ({
    target,
    ok: false,
    details: `it was closed after ${formatDuration(clock.now() - startedAt)} of silence`,
    action: LONG_TIMEOUTS,
  });
  let first: number | undefined = rest[0];
  let next = nextByte(wire);
  const waited = Promise.withResolvers<"waited">();
  const timer = clock.after(waitMs, () => waited.resolve("waited"));
  let ticker: Timer | undefined;
  const tick = (): void => {
    ticker = clock.after(PROGRESS_MS, () => {
      context.progress("idle link kept", target, clock.now() - startedAt);
      tick();
    });
  };
  tick();
  try {
    // Something may come: a proxy's own ping, or the close. Frames of control are whole and short.
    while (first === undefined || first !== CLOSE) {
      const event = await Promise.race([next, waited.promise]);
      if (event === "waited") break;
      if (event === undefined) return ended();
      first = event;
      next = nextByte(wire);
    }
    if (first === CLOSE) return ended();
    const silentMs = clock.now() - startedAt;
    wire.write(PING);
    const answered = await within(clock, ANSWER_MS, () => seePong(next, wire));
    return answered
      ? { target, ok: true, details: `it was still there after ${formatDuration(silentMs)} of silence` }
      : ended();
  } catch {
    return ended();
  } finally {
    timer.cancel();
    ticker?.cancel();
  }
}

/** The first byte of what comes next: the kind of the frame. `undefined` once the connection has ended. */
async function nextByte(wire: Wire): Promise<number | undefined> {
  try {
    return (await wire.read())?.[0];
  } catch {
    return undefined;
  }
}

async function seePong(first: Promise<number | undefined>, wire: Wire): Promise<boolean> {
  for (let kind = await first; ; kind = await nextByte(wire)) {
    if (kind === PONG) return true;
    if (kind === undefined || kind === CLOSE) return false;
  }
}
