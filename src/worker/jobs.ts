import type { Clock } from "../base/clock.ts";
import type { ResponseWriter } from "../protocol/link.ts";
import type { LinkRequest } from "../protocol/messages.ts";
import type { Backend, BackendError } from "./backend.ts";
import type { ModelName } from "./config.ts";
import { runJob, type JobEnd } from "./job.ts";
import { namesOnlyItsModel } from "./request-model.ts";

export interface JobsOptions {
  clock: Clock;
  maxConcurrency: number;
  /** The backend to use now; `undefined` while none is known. */
  backend(): Backend | undefined;
  /** What the worker serves under this name, or `undefined` if it serves no such model. */
  resolve(model: string): ModelName | undefined;
  backendFailed(error: BackendError): void;
  /** A job has begun or ended. */
  changed(load: number): void;
}

/** The requests that this worker runs. */
export interface Jobs {
  readonly load: number;
  /** Starts a request, or refuses it through its writer. */
  take(request: LinkRequest, writer: ResponseWriter): void;
  /** The client has gone. A request that is not known is no error: it may just have ended. */
  cancel(id: string): void;
  /** Ends all: the link is lost (`cancelled`), or the worker stops before they were done (`shutdown`). */
  endAll(end: JobEnd): void;
  /** Resolves when no request runs. */
  idle(): Promise<void>;
}

export function createJobs(options: JobsOptions): Jobs {
  const running = new Map<string, AbortController>();
  /**
   * Requests that the relay gave to slots which it counts as free, while their backend connections are
   * still being closed. Never more than there are such slots.
   */
  const next = new Map<string, { writer: ResponseWriter; start: () => void }>();
  /** Jobs whose backend connection is open, cancelled ones included. */
  let load = 0;
  let waiting: (() => void)[] = [];

  async function run(
    request: LinkRequest,
    writer: ResponseWriter,
    backend: Backend,
    model: ModelName,
  ): Promise<void> {
    const abort = new AbortController();
    running.set(request.id, abort);
    options.changed(++load);
    await runJob({
      clock: options.clock,
      request,
      writer,
      backend,
      model,
      signal: abort.signal,
      backendFailed: (error) => options.backendFailed(error),
    });
    if (running.get(request.id) === abort) running.delete(request.id);
    options.changed(--load);
    startNext();
    if (load > 0) return;
    const resolvers = waiting;
    waiting = [];
    for (const resolve of resolvers) resolve();
  }

  function startNext(): void {
    for (const [id, { start }] of next) {
      if (load >= options.maxConcurrency) return;
      next.delete(id);
      start();
    }
  }

  /** Slots that the relay counts as taken. */
  function claimed(): number {
    let count = next.size;
    for (const abort of running.values()) if (!abort.signal.aborted) count++;
    return count;
  }

  return {
    get load() {
      return claimed();
    },
    take(request, writer) {
      const model = options.resolve(request.model);
      const backend = options.backend();
      // A request that was cancelled with its link may come again over the next one while the connection
      // it had is still being closed.
      if (running.get(request.id)?.signal.aborted === false || next.has(request.id)) return;
      if (model === undefined) {
        writer.fail(
          404,
          `This worker does not serve the model "${request.model}"`,
          "worker_model_not_served",
        );
      } else if (!namesOnlyItsModel(request)) {
        writer.fail(400, "The request's body names another model than the request", "worker_model_mismatch");
      } else if (claimed() >= options.maxConcurrency) {
        const limit = options.maxConcurrency;
        writer.fail(503, `This worker is busy: it runs ${limit} of at most ${limit} requests`, "worker_busy");
      } else if (backend === undefined) {
        writer.fail(502, "This worker has no backend at the moment", "backend_unreachable");
      } else if (load >= options.maxConcurrency) {
        next.set(request.id, { writer, start: () => void run(request, writer, backend, model) });
      } else {
        void run(request, writer, backend, model);
      }
    },
    cancel(id) {
      running.get(id)?.abort({ kind: "cancelled" } satisfies JobEnd);
      next.get(id)?.writer.cancelled();
      next.delete(id);
    },
    endAll(end) {
      for (const { writer } of next.values()) {
        if (end.kind === "shutdown")
          writer.fail(503, "The worker stopped before it began", "worker_shutdown");
        else writer.cancelled();
      }
      next.clear();
      for (const abort of running.values()) abort.abort(end);
    },
    idle() {
      if (load === 0) return Promise.resolve();
      return new Promise((resolve) => waiting.push(resolve));
    },
  };
}
