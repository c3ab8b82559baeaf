import type { ProgressSurface } from "./progress.ts";

/** Back to the first cell, and everything after it erased. */
const ERASE = "\r\u001b[K";
/** Where a terminal says that it has no width. */
const USUAL_COLUMNS = 80;

let isDrawn = false;
let erasedAtExit = false;

/** Nothing that is left behind may stand before the prompt of a shell. */
function eraseAtExit(): void {
  if (erasedAtExit) return;
  erasedAtExit = true;
  process.once("exit", () => statusLine.clear());
}

/** The last line of the terminal that stderr is. */
export const statusLine: ProgressSurface = {
  covered: undefined,
  get columns() {
    const [columns] = process.stderr.getWindowSize();
    return columns > 0 ? columns : USUAL_COLUMNS;
  },
  draw(text) {
    eraseAtExit();
    isDrawn = true;
    process.stderr.write(`${ERASE}${text}`);
  },
  clear() {
    if (isDrawn) process.stderr.write(ERASE);
    isDrawn = false;
  },
};

/** Writes whole lines to stderr, in the place of a status line that may stand there. */
export function writeLines(text: string): void {
  if (!isDrawn) {
    process.stderr.write(text);
    return;
  }
  isDrawn = false;
  process.stderr.write(`${ERASE}${text}`);
  statusLine.covered?.();
}
