/** The terminal that stdout is. */
export interface Screen {
  readonly columns: number;
  readonly rows: number;
  /** Whether colour is wanted; it is never needed to understand a line. */
  readonly inColour: boolean;
  /** Calls `resized` with each change of its size, until the function that is returned is called. */
  watchSize(resized: () => void): () => void;
}

/** Where a terminal says that it has no size. */
const USUAL = { columns: 80, rows: 24 };

/** Calls `ended` when nobody reads stdout any more, as after `| head`. */
export function whenUnread(ended: () => void): void {
  process.stdout.on("error", ended);
}

/** @returns `undefined` if stdout is a file or a pipe */
export function screenOf(env: Readonly<Record<string, string | undefined>>): Screen | undefined {
  const { stdout } = process;
  if (!stdout.isTTY) return undefined;
  return {
    get columns() {
      return stdout.columns > 0 ? stdout.columns : USUAL.columns;
    },
    get rows() {
      return stdout.rows > 0 ? stdout.rows : USUAL.rows;
    },
    inColour: !env["NO_COLOR"] && env["TERM"] !== "dumb",
    watchSize(resized) {
      stdout.on("resize", resized);
      return () => void stdout.off("resize", resized);
    },
  };
}
