import { systemClock } from "../base/clock.ts";
import { UsageError } from "../base/errors.ts";
import { createLog } from "../base/log.ts";
import { findServiceManager } from "../base/service-manager.ts";
import type { WorkerConfig as RunningConfig } from "../worker/config.ts";
import { readAuthorities } from "./ca-file.ts";
import { checkLine } from "./check-line.ts";
import { commandNode, type Command, type RunContext, type Terminal } from "./command.ts";
import { showDrain } from "./progress.ts";
import type { Reading } from "./read-config.ts";
import { reportStrayErrors } from "./stray-errors.ts";
import { stopRequested } from "./signals.ts";
import { workerStatus } from "./worker-status.ts";
import { workerOptions, type WorkerConfig } from "./worker-options.ts";

/** What the end may take after the last request. */
const CLOSING_MS = 15_000;

/** @returns 0 if nothing failed, else 1 */
async function runChecks(config: RunningConfig, terminal: Terminal): Promise<number> {
  const { checkWorker } = await import("../worker/check.ts");
  let printed = Promise.resolve();
  const results = await checkWorker(config, {
    clock: systemClock,
    onResult: (result) => {
      printed = printed.then(() => terminal.out(checkLine(result)));
    },
  });
  await printed;
  return results.some(({ ok }) => ok === false) ? 1 : 0;
}

function runningConfig(
  settings: WorkerConfig,
  origins: Reading<typeof workerOptions>["origins"],
): RunningConfig {
  const { backendApiKey, workerSecret, caFile, pin, ...rest } = settings;
  if (workerSecret === undefined) {
    throw new UsageError("Cannot connect to a relay without its worker secret: worker-secret is not set", {
      action:
        "Give --worker-secret-file FILE or WORKER_SECRET; the relay prints the whole command at its start",
    });
  }
  return {
    ...rest,
    workerSecret,
    ...(backendApiKey !== undefined && { backendApiKey }),
    ...(caFile !== undefined && { caPem: readAuthorities(caFile, "ca-file", origins.caFile) }),
    ...(pin !== undefined && { pins: pin }),
  };
}

/** The runtime would obey this variable; the worker says each time what a certificate must be. */
function warnOfIgnored({ env, err }: Terminal): void {
  if (env["NODE_TLS_REJECT_UNAUTHORIZED"] !== "0") return;
  err(
    "NODE_TLS_REJECT_UNAUTHORIZED=0 does not count for the relay: its certificate is verified → Name a private authority with --ca-file, or trust the relay's key with --pin\n",
  );
}

/** Settings that are each valid and do not go together. */
function checkTogether({ config, origins }: Reading<typeof workerOptions>): void {
  const { proxyUrl, caFile, pin } = config;
  if (config.compress && config.linkVersion === "v1") {
    throw new UsageError(
      `Cannot use compress (${origins.compress}) with link-version v1 (${origins.linkVersion}): only newer versions compress`,
      { action: "Remove one of them" },
    );
  }
  if (caFile !== undefined && pin !== undefined) {
    throw new UsageError(
      `Cannot use ca-file (${origins.caFile}) and pin (${origins.pin}) together: a pinned relay needs no authority`,
      { action: "Keep one of them" },
    );
  }
  const [name, origin] = caFile !== undefined ? ["ca-file", origins.caFile] : ["pin", origins.pin];
  if ((caFile ?? pin) !== undefined && proxyUrl.startsWith("http:")) {
    throw new UsageError(
      `Cannot use ${name} (${origin}) with ${proxyUrl} (proxy-url, ${origins.proxyUrl}): nothing is encrypted there`,
      { action: "Write https:// in --proxy-url" },
    );
  }
}

/** Serves until it is told to stop, or until the relay turns it away for good. */
async function runWorker(
  settings: WorkerConfig,
  { terminal, origins }: RunContext<typeof workerOptions>,
): Promise<number> {
  const config = runningConfig(settings, origins);
  warnOfIgnored(terminal);
  if (settings.check) return runChecks(config, terminal);
  const log = createLog(settings.logLevel, settings.logFormat);
  reportStrayErrors(log);
  const { startWorker } = await import("../worker/index.ts");
  const manager = findServiceManager({ env: terminal.env, clock: systemClock });
  const worker = startWorker(config, { clock: systemClock, log });
  let stopping = false;
  worker.subscribe(({ kind }) => {
    if (kind === "load") return;
    // Some events come before the state that they lead to.
    queueMicrotask(() => {
      if (!stopping) manager.status(workerStatus(worker.status(), kind === "suspended"));
    });
  });
  // A worker whose relay is away is well, and dials again and again.
  manager.ready(workerStatus(worker.status()));
  const stopped = stopRequested({
    async onFirst(signal) {
      stopping = true;
      log.info("Finishing what runs; a second signal ends at once", { signal });
      manager.stopping("Finishes what runs", settings.drainTimeoutMs + CLOSING_MS);
      const running = (): number => worker.status().load;
      const shown = { clock: systemClock, log, logFormat: settings.logFormat, env: terminal.env, running };
      await showDrain(worker.drain(), { ...shown, timeoutMs: settings.drainTimeoutMs });
    },
    onSecond: () => worker.stop(),
  });
  // Once a signal has come, what it does to the worker is not what decides the exit code.
  const left = worker.closed.then(({ code }) => (stopping ? stopped : code));
  return Promise.race([stopped, left]).finally(() => manager.close());
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
  check: checkTogether,
  run: runWorker,
};

export default commandNode(workerCommand);
