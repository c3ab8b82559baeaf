import type { Clock, Timer } from "../base/clock.ts";
import type { Terminal } from "./command.ts";
import type { Screen } from "./screen.ts";
import { linesText, written, type Room, type StyledLine } from "./status-text.ts";

/** A screen of its own, which leaves what stood on the terminal before, and no cursor. */
const ENTER = "\u001b[?1049h\u001b[?25l";
const LEAVE = "\u001b[?25h\u001b[?1049l";
const HOME = "\u001b[H";
const TO_END_OF_LINE = "\u001b[K";
const TO_END_OF_SCREEN = "\u001b[J";

export interface Watching<T> {
  clock: Clock;
  terminal: Terminal;
  /** The terminal that is drawn on; `undefined` writes one picture after the other. */
  screen: Screen | undefined;
  everyMs: number;
  /** Whatever it rejects with ends the watching. */
  look: () => Promise<T>;
  draw: (seen: T, room: Room) => StyledLine[];
  /** Aborted when the watching is to end. */
  signal: AbortSignal;
}

/** Shows what is seen, again and again, until it is told to end. */
export async function watch<T>(watching: Watching<T>): Promise<void> {
  const { screen, terminal, clock, everyMs, look, signal } = watching;
  if (screen !== undefined) await terminal.out(ENTER);
  let last: { seen: T } | undefined;
  const show = async (): Promise<void> => {
    if (last !== undefined) await terminal.out(picture(watching, last.seen));
  };
  const stopSizes = screen?.watchSize(() => void show().catch(() => {}));
  try {
    while (!signal.aborted) {
      const seen = await unlessAborted(look(), signal);
      if (seen === undefined) break;
      last = { seen };
      await show();
      await pause(clock, everyMs, signal);
    }
  } finally {
    stopSizes?.();
    if (screen !== undefined)
      await terminal.out(LEAVE + (last === undefined ? "" : finalPicture(watching, screen, last.seen)));
  }
}

function picture<T>({ screen, draw }: Watching<T>, seen: T): string {
  if (screen === undefined) return linesText(draw(seen, { columns: Infinity, rows: Infinity }), false);
  const lines = draw(seen, screen).slice(0, screen.rows);
  const drawn = lines.map((line) => written(line, screen.inColour) + TO_END_OF_LINE).join("\n");
  return HOME + drawn + TO_END_OF_SCREEN;
}

/** What was seen last stays on the terminal, as it was. */
function finalPicture<T>({ draw }: Watching<T>, screen: Screen, seen: T): string {
  return linesText(draw(seen, screen), screen.inColour);
}

function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const end = (): void => resolve(undefined);
  signal.addEventListener("abort", end, { once: true });
  if (signal.aborted) end();
  return Promise.race([work, promise]).finally(() => signal.removeEventListener("abort", end));
}

function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<unknown> {
  let timer: Timer | undefined;
  const passed = new Promise<void>((resolve) => {
    timer = clock.after(delayMs, resolve);
  });
  return unlessAborted(passed, signal).finally(() => timer?.cancel());
}
