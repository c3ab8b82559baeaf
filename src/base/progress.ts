import type { Clock, Timer } from "./clock.ts";
import { formatBytes } from "./bytes.ts";
import { oneLine } from "./one-line.ts";

/** What work that takes a while says of itself: the most important part first, as a narrow terminal shows no more. */
export type ProgressParts = readonly string[];

/** Says how far some work is, until it is disposed of. */
export interface Progress extends Disposable {
  show(parts: ProgressParts): void;
}

/** One line of a terminal that is written over and over. */
export interface ProgressSurface {
  /** Cells in a row of the terminal, as wide as it is now. */
  readonly columns: number;
  draw(text: string): void;
  clear(): void;
  /** Called when something else was written there and the line is gone. */
  covered: (() => void) | undefined;
}

/** Ten updates a second are as many as anybody can read. */
const MIN_GAP_MS = 100;
/** Between two lines where there is no terminal: a log is read afterwards. */
const LINE_GAP_MS = 10_000;

/** As many parts as fit into one row, its last cell left free: a full one would wrap. */
export function fitParts(parts: ProgressParts, columns: number): string {
  const room = Math.max(1, columns - 1);
  let text = oneLine(parts[0] ?? "");
  if (text.length > room) return room === 1 ? "…" : `${text.slice(0, room - 1)}…`;
  for (const part of parts.slice(1)) {
    const longer = `${text}, ${oneLine(part)}`;
    if (longer.length > room) break;
    text = longer;
  }
  return text;
}

/** Time that is left, in whole seconds as long as those matter. */
export function countdown(ms: number): string {
  const seconds = Math.ceil(Math.max(0, ms) / 1_000);
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}

/** What is to end before a process may: `12 requests left, 18 s`. */
export function drainParts(requests: number, leftMs: number): ProgressParts {
  if (requests === 0) return ["The last answers leave"];
  return [`${requests} ${requests === 1 ? "request" : "requests"} left`, countdown(leftMs)];
}

export interface Transfer {
  /** What is transferred, such as `modelrelay 0.2.0`. */
  what: string;
  received: number;
  /** `undefined` where the server does not say. */
  total: number | undefined;
  elapsedMs: number;
}

/** The first moments say nothing of a connection's speed. */
const SPEED_AFTER_MS = 1_000;

/** A download: `Downloading modelrelay 0.2.0, 45 %, 17.6 MiB of 39.1 MiB, 4.2 MiB/s, 6 s left`. */
export function downloadParts({ what, received, total, elapsedMs }: Transfer): ProgressParts {
  const head = `Downloading ${what}`;
  const perSecond = elapsedMs >= SPEED_AFTER_MS && received > 0 ? (received / elapsedMs) * 1_000 : undefined;
  const speed = perSecond === undefined ? [] : [`${formatBytes(Math.round(perSecond))}/s`];
  if (total === undefined || total === 0) return [head, formatBytes(received), ...speed];
  const percent = Math.min(100, Math.floor((received / total) * 100));
  const left = perSecond === undefined ? [] : [`${countdown(((total - received) / perSecond) * 1_000)} left`];
  return [head, `${percent} %`, `${formatBytes(received)} of ${formatBytes(total)}`, ...speed, ...left];
}

/**
 * Shows progress on a terminal's line, or as lines now and then where there is none.
 *
 * @param surface `undefined` where there is no terminal
 * @param say writes one plain line
 */
export function createProgress(
  clock: Clock,
  surface: ProgressSurface | undefined,
  say: (text: string) => void,
): Progress {
  return surface === undefined ? linesProgress(clock, say) : terminalProgress(clock, surface);
}

function linesProgress(clock: Clock, say: (text: string) => void): Progress {
  let saidAt = Number.NEGATIVE_INFINITY;
  return {
    show(parts) {
      if (clock.now() - saidAt < LINE_GAP_MS) return;
      saidAt = clock.now();
      say(fitParts(parts, Number.POSITIVE_INFINITY));
    },
    [Symbol.dispose]() {},
  };
}

function terminalProgress(clock: Clock, surface: ProgressSurface): Progress {
  let parts: ProgressParts | undefined;
  let drawn: string | undefined;
  let drawnAt = Number.NEGATIVE_INFINITY;
  let timer: Timer | undefined;
  let isOver = false;

  function draw(): void {
    timer = undefined;
    if (parts === undefined) return;
    const text = fitParts(parts, surface.columns);
    if (text === drawn) return;
    drawn = text;
    drawnAt = clock.now();
    surface.draw(text);
  }

  function drawSoon(): void {
    if (timer !== undefined || isOver) return;
    const waitMs = drawnAt + MIN_GAP_MS - clock.now();
    if (waitMs <= 0) draw();
    else timer = clock.after(waitMs, draw);
  }

  surface.covered = () => {
    drawn = undefined;
    drawSoon();
  };
  return {
    show(next) {
      parts = next;
      drawSoon();
    },
    [Symbol.dispose]() {
      timer?.cancel();
      isOver = true;
      surface.covered = undefined;
      surface.clear();
    },
  };
}
