import { systemClock, type Clock } from "../../src/base/clock.ts";
import type { Log } from "../../src/base/log.ts";
import {
  startWorker,
  type RunningWorker,
  type WorkerConfig,
  type WorkerEvent,
} from "../../src/worker/index.ts";
import { Inbox } from "../support/inbox.ts";
import { SECRET } from "./fake-relay.ts";

/** A worker under test, with all that it says and tells. */
export interface StartedWorker extends AsyncDisposable {
  worker: RunningWorker;
  events: Inbox<WorkerEvent>;
  /** Log lines as `level message`. */
  lines: string[];
  next<K extends WorkerEvent["kind"]>(kind: K): Promise<Extract<WorkerEvent, { kind: K }>>;
  /** Waits for an offer of exactly these models. */
  offers(models: string[]): Promise<void>;
}

export function startTestWorker(
  relay: { url: string },
  backend: { url: string },
  more: Partial<WorkerConfig> = {},
  parts: { clock?: Clock; random?: () => number } = {},
): StartedWorker {
  const events = new Inbox<WorkerEvent>();
  const lines: string[] = [];
  const write =
    (level: string) =>
    (message: string): void =>
      void lines.push(`${level} ${message}`);
  const log: Log = {
    verbose: true,
    error: write("error"),
    warn: write("warn"),
    info: write("info"),
    debug: write("debug"),
    often: write("info"),
  };
  const worker = startWorker(
    {
      proxyUrl: relay.url,
      workerSecret: SECRET,
      backendUrl: backend.url,
      models: { all: true, names: [] },
      workerName: "test",
      maxConcurrency: 4,
      provider: "local",
      linkVersion: "v1",
      drainTimeoutMs: 30_000,
      firstByteTimeoutMs: 0,
      idleTimeoutMs: 0,
      ...more,
    },
    {
      clock: parts.clock ?? systemClock,
      log,
      random: parts.random ?? (() => 0),
      onEvent: (event) => events.put(event),
    },
  );
  return {
    worker,
    events,
    lines,
    next: async (kind) => (await events.next((event) => event.kind === kind)) as never,
    async offers(models) {
      await events.next((event) => event.kind === "models" && event.models.join() === models.join());
    },
    [Symbol.asyncDispose]: () => worker[Symbol.asyncDispose](),
  };
}
