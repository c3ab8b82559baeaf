import { Problem } from "../../src/base/errors.ts";

/** How long a server may take to stop by itself before it is killed. */
const STOP_MS = 5_000;

/** A program that serves until it is disposed of, and what it writes. */
export class ServerProcess implements AsyncDisposable {
  readonly #name: string;
  readonly #child: Bun.Subprocess<"ignore", "pipe", "pipe">;
  readonly #ended: Promise<void>;
  #log = "";
  #over = false;
  /** Settles when the log grows or the program ends, and is then replaced. */
  #change = Promise.withResolvers<void>();

  constructor(name: string, command: string[], env: Record<string, string | undefined> = {}) {
    this.#name = name;
    this.#child = Bun.spawn(command, { env: { ...process.env, ...env }, stdio: ["ignore", "pipe", "pipe"] });
    this.#ended = this.#follow();
  }

  get pid(): number {
    return this.#child.pid;
  }

  /** Everything written so far, stdout and stderr together. */
  log(): string {
    return this.#log;
  }

  /**
   * Waits until the log matches.
   *
   * @param from position in `log()` to look from
   * @throws {Problem} with the log, if the program ends first or `timeoutMs` pass
   */
  async logged(pattern: RegExp, timeoutMs: number, from = 0): Promise<RegExpExecArray> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#changed();
    }, timeoutMs);
    try {
      for (;;) {
        const match = pattern.exec(this.#log.slice(from));
        if (match !== null) return match;
        if (this.#over || late) {
          const why = this.#over
            ? `it ended with exit code ${this.#child.exitCode}`
            : `none after ${timeoutMs} ms`;
          throw new Problem(`Cannot find ${pattern} in the log of ${this.#name}: ${why}\n${this.#log}`);
        }
        await this.#change.promise;
      }
    } finally {
      clearTimeout(timer);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGTERM");
    const timer = setTimeout(() => this.#child.kill("SIGKILL"), STOP_MS);
    await this.#ended;
    clearTimeout(timer);
  }

  async #follow(): Promise<void> {
    await Promise.all([this.#read(this.#child.stdout), this.#read(this.#child.stderr), this.#child.exited]);
    this.#over = true;
    this.#changed();
  }

  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    const decoder = new TextDecoder();
    for await (const chunk of stream) {
      this.#log += decoder.decode(chunk, { stream: true });
      this.#changed();
    }
  }

  #changed(): void {
    const { resolve } = this.#change;
    this.#change = Promise.withResolvers();
    resolve();
  }
}
