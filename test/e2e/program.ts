import { binaryPath } from "../support/binary.ts";
import { newDataDir } from "../support/data-dir.ts";

export interface ProgramOptions {
  env?: Record<string, string>;
  cwd?: string;
}

/** A running program whose output a test can wait for; killed at the end of the scope. */
export interface Program extends AsyncDisposable {
  /** All that it has written so far. */
  readonly stdout: string;
  readonly stderr: string;
  readonly pid: number;
  /** Resolves once all of its output has been read. */
  readonly exited: Promise<number>;
  /** Resolves when this process has ended, though one that it has started may write on. */
  readonly ended: Promise<number>;
  /** Waits until the output matches. Rejects, with all of the output, if the program ends before. */
  until(pattern: RegExp, from?: "stdout" | "stderr"): Promise<RegExpExecArray>;
  kill(signal: NodeJS.Signals): void;
}

/** Output that is being read. */
class Output {
  text = "";
  #ended = false;
  #wake = Promise.withResolvers<void>();
  readonly end: Promise<void>;

  constructor(stream: ReadableStream<Uint8Array>) {
    this.end = this.#read(stream);
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const bytes of stream) {
      this.text += decoder.decode(bytes, { stream: true });
      this.#tell();
    }
    this.#ended = true;
    this.#tell();
  }

  #tell(): void {
    this.#wake.resolve();
    this.#wake = Promise.withResolvers();
  }

  async until(pattern: RegExp): Promise<RegExpExecArray | undefined> {
    for (;;) {
      const found = pattern.exec(this.text);
      if (found !== null) return found;
      if (this.#ended) return undefined;
      await this.#wake.promise;
    }
  }
}

/** What a child gets of the environment of the tests; no setting of the program is among it. */
const CLEAN_ENV = { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "" };

/** Starts any program with nothing in its environment but where programs and the user's home are. */
export function startProgram(command: string[], { env = {}, cwd }: ProgramOptions = {}): Program {
  const child = Bun.spawn(command, {
    // A directory of its own for each relay: two that share one share their keys.
    env: { ...CLEAN_ENV, MODELRELAY_DATA_DIR: newDataDir(), ...env },
    ...(cwd !== undefined && { cwd }),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const outputs = { stdout: new Output(child.stdout), stderr: new Output(child.stderr) };
  const { stdout, stderr } = outputs;
  async function ended(): Promise<number> {
    await Promise.all([stdout.end, stderr.end]);
    return child.exited;
  }
  const exited = ended();
  return {
    get stdout() {
      return stdout.text;
    },
    get stderr() {
      return stderr.text;
    },
    pid: child.pid,
    exited,
    ended: child.exited,
    async until(pattern, from = "stderr") {
      const found = await outputs[from].until(pattern);
      if (found !== undefined) return found;
      const said = `--- stdout\n${stdout.text}\n--- stderr\n${stderr.text}`;
      throw new Error(`${command.join(" ")} ended before its ${from} matched ${String(pattern)}\n${said}`);
    },
    kill: (signal) => child.kill(signal),
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await exited;
    },
  };
}

/** Starts the executable under test. */
export function startModelrelay(args: string[], options?: ProgramOptions): Program {
  return startProgram([binaryPath(), ...args], options);
}

/** Runs a program to its end. */
export async function runProgram(
  command: string[],
  options?: ProgramOptions,
): Promise<{ stdout: string; stderr: string; code: number }> {
  await using program = startProgram(command, options);
  const code = await program.exited;
  return { stdout: program.stdout, stderr: program.stderr, code };
}
