import { join } from "node:path";
import { Problem } from "../src/base/errors.ts";
import type { Job, JobResult } from "./job.ts";
import type { LoadAnswer } from "./load.ts";

/** How much longer than planned a job may take before it is given up. */
const GRACE_MS = 20_000;

/** The generator's process. One for the whole run, so that its code is hot; replaced when a job hangs. */
export class Generator implements AsyncDisposable {
  #process: Bun.Subprocess | undefined;
  #answer: ((answer: LoadAnswer) => void) | undefined;

  /** @throws {Problem} if the job fails, or takes 20 s longer than planned */
  async run(job: Job): Promise<JobResult> {
    const plannedMs = job.warmupMs + job.durationMs + (job.kind === "streams" ? job.rampMs : 0);
    const answered = new Promise<LoadAnswer>((resolve) => {
      this.#answer = resolve;
    });
    this.#start().send(job);
    let timer: NodeJS.Timeout | undefined;
    const expired = new Promise<undefined>((resolve) => {
      timer = setTimeout(() => resolve(undefined), plannedMs + GRACE_MS);
    });
    const answer = await Promise.race([answered, expired]);
    clearTimeout(timer);
    if (answer === undefined) {
      await this[Symbol.asyncDispose]();
      throw new Problem(`Cannot finish a job of ${plannedMs} ms: no result ${GRACE_MS} ms after its end`);
    }
    if ("error" in answer) throw new Problem(`Cannot run the job: ${answer.error}`);
    return answer.result;
  }

  #start(): Bun.Subprocess {
    this.#process ??= Bun.spawn([process.execPath, join(import.meta.dir, "load.ts")], {
      stdin: "ignore",
      stdout: "inherit",
      stderr: "inherit",
      ipc: (message: LoadAnswer, child) => {
        if (child === this.#process) this.#answer?.(message);
      },
      onExit: (child) => {
        if (child !== this.#process) return; // one that was replaced
        this.#process = undefined;
        this.#answer?.({ error: "the generator's process ended" });
      },
    });
    return this.#process;
  }

  /** Ends the process. A job that is running fails; a later one starts a new process. */
  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.#process;
    this.#process = undefined;
    this.#answer?.({ error: "the generator was stopped" });
    running?.kill();
    await running?.exited;
  }
}
