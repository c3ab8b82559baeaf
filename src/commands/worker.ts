import { systemClock } from "../base/clock.ts";
import { UsageError } from "../base/errors.ts";
import { createLog, type Log } from "../base/log.ts";
import type * as workerModule from "../worker/index.ts";
import { commandNode, type Command } from "./command.ts";
import { stopRequested } from "./signals.ts";
import { workerOptions, type WorkerConfig } from "./worker-options.ts";

/** What `worker --check` calls: prints each step, and says whether all of them passed. */
interface Checks {
  checkWorker?(
    config: workerModule.WorkerConfig,
    parts: { clock: typeof systemClock; log: Log },
  ): Promise<boolean>;
}

function withSecret({ backendApiKey, workerSecret, ...rest }: WorkerConfig): workerModule.WorkerConfig {
  if (workerSecret === undefined) {
    throw new UsageError("Cannot connect to a relay without its worker secret: worker-secret is not set", {
      action:
        "Give --worker-secret-file FILE or WORKER_SECRET; the relay prints the whole command at its start",
    });
  }
  return { ...rest, workerSecret, ...(backendApiKey !== undefined && { backendApiKey }) };
}

/** Serves until it is told to stop, or until the relay turns it away for good. */
async function runWorker(settings: WorkerConfig): Promise<number> {
  const config = withSecret(settings);
  const { ensureHttpLimit } = await import("../worker/http-limit.ts");
  await ensureHttpLimit();
  const log = createLog(settings.logLevel);
  const module: typeof workerModule & Checks = await import("../worker/index.ts");
  if (settings.check && module.checkWorker !== undefined) {
    return (await module.checkWorker(config, { clock: systemClock, log })) ? 0 : 1;
  }
  const worker = module.startWorker(config, { clock: systemClock, log });
  const stopped = stopRequested({
    async onFirst(signal) {
      log.info("Finishing what runs; a second signal ends at once", { signal });
      await worker.drain();
    },
    onSecond: () => worker.stop(),
  });
  return Promise.race([stopped, worker.closed.then(({ code }) => code)]);
}

export const workerCommand: Command<typeof workerOptions> = {
  name: "worker",
  summary: "Offers the models of an inference server near by through a relay",
  examples: [
    {
      line: "modelrelay worker --proxy-url https://relay.example.com --worker-secret-file secret",
      does: "Look for an inference server on this machine and offer all of its models",
    },
    {
      line: "modelrelay worker --backend-url http://127.0.0.1:11434 --models 'gpt-4o=llama3.1:8b'",
      does: "Offer one model of Ollama under another name",
    },
    { line: "modelrelay worker --check", does: "Say which step between here and a generated token fails" },
  ],
  options: workerOptions,
  run: runWorker,
};

export default commandNode(workerCommand);
