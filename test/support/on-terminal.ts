import { newDataDir } from "./data-dir.ts";

/** A program whose stdin, stdout and stderr are one terminal of its own; killed at the end of the scope. */
export interface OnTerminal extends AsyncDisposable {
  /** Every byte that reached the terminal, controls included. */
  readonly written: string;
  readonly exited: Promise<number>;
  /** Resolves once what was written matches. Rejects, with all of it, if the program ends before. */
  until(pattern: RegExp): Promise<RegExpExecArray>;
  /** What a person types. */
  type(text: string): void;
  resize(columns: number): void;
  kill(signal: NodeJS.Signals): void;
}

export interface OnTerminalOptions {
  columns?: number;
  env?: Record<string, string>;
  cwd?: string;
}

/** Starts a program on a terminal with nothing in its environment but where programs and the home are. */
export function startOnTerminal(
  command: string[],
  { columns = 100, env = {}, cwd }: OnTerminalOptions = {},
): OnTerminal {
  let written = "";
  let ended = false;
  let wake = Promise.withResolvers<void>();
  const tell = (): void => {
    wake.resolve();
    wake = Promise.withResolvers();
  };
  const closed = Promise.withResolvers<void>();
  const decoder = new TextDecoder();
  const child = Bun.spawn(command, {
    terminal: {
      cols: columns,
      rows: 24,
      data(_, bytes) {
        written += decoder.decode(bytes, { stream: true });
        tell();
      },
      // Once nobody has its other end, and everything has been read.
      exit: () => closed.resolve(),
    },
    env: {
      PATH: process.env["PATH"] ?? "",
      HOME: process.env["HOME"] ?? "",
      TERM: "xterm-256color",
      MODELRELAY_DATA_DIR: newDataDir(),
      ...env,
    },
    ...(cwd !== undefined && { cwd }),
  });
  const { terminal } = child;
  if (terminal === undefined) throw new Error("Cannot test on a terminal: this system has none to give");
  const exited = child.exited.then(async (code) => {
    await closed.promise;
    ended = true;
    tell();
    return code;
  });
  return {
    get written() {
      return written;
    },
    exited,
    async until(pattern) {
      for (;;) {
        const found = pattern.exec(written);
        if (found !== null) return found;
        if (ended)
          throw new Error(
            `${command.join(" ")} ended before its output matched ${String(pattern)}\n${written}`,
          );
        await wake.promise;
      }
    },
    type: (text) => void terminal.write(text),
    resize: (next) => terminal.resize(next, 24),
    kill: (signal) => child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
      terminal.close();
    },
  };
}

/** The lines that a person sees in the end, as far as returns to the first cell and erasing to the right make them. */
export function screenOf(written: string): string[] {
  const lines = [""];
  let column = 0;
  // eslint-disable-next-line no-control-regex
  for (const [token] of written.matchAll(/\u001b\[[\d;?]*[A-Za-z]|[\s\S]/g)) {
    const line = lines.at(-1) ?? "";
    if (token === "\n") {
      lines.push("");
      column = 0;
    } else if (token === "\r") column = 0;
    else if (token === "\u001b[K") lines[lines.length - 1] = line.slice(0, column);
    else if (!token.startsWith("\u001b")) {
      lines[lines.length - 1] = line.slice(0, column).padEnd(column) + token + line.slice(column + 1);
      column++;
    }
  }
  return lines;
}
