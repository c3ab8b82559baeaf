import type { Clock } from "../base/clock.ts";
import type { ResponseWriter } from "../protocol/link.ts";
import type { LinkRequest } from "../protocol/messages.ts";
import type { Backend } from "./backend.ts";
import type { BackendError } from "./backend-error.ts";
import type { ModelName } from "./config.ts";
import { Job, type JobEnd } from "./job.ts";
import { namesOnlyItsModel } from "./request-model.ts";
import type { Slots } from "./slots.ts";

export interface JobsOptions {
  clock: Clock;
  /** At most so many over one link. */
  maxConcurrency: number;
  /** What all links together may run. */
  slots: Slots;
  /** The backend to use now; `undefined` while none is known. */
  backend(): Backend | undefined;
  /** What the worker serves under this name, or `undefined` if it serves no such model. */
  resolve(model: string): ModelName | undefined;
  backendFailed(error: BackendError): void;
  /** A job has begun or ended. */
  changed(): void;
}

/** The requests that this worker runs for one link. */
export interface Jobs {
  /** Requests that have not ended. The backend's connection of one that was cancelled is closed already. */
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
  const { clock, maxConcurrency, slots } = options;
  const backendFailed = (error: BackendError): void => options.backendFailed(error);
  const running = new Map<string, Job>();
  let waiting: (() => void)[] = [];

  function run(request: LinkRequest, writer: ResponseWriter, backend: Backend, model: ModelName): void {
    const done = (): void => {
      running.delete(request.id);
      slots.free(job);
      options.changed();
      if (running.size > 0) return;
      const resolvers = waiting;
      waiting = [];
      for (const resolve of resolvers) resolve();
    };
    const job = new Job({ clock, request, writer, backend, model, backendFailed, done });
    running.set(request.id, job);
    slots.take(job, () => job.start());
    options.changed();
  }

  return {
    get load() {
      return running.size;
    },
    take(request, writer) {
      const model = options.resolve(request.model);
      const backend = options.backend();
      // The same again is a mistake of the relay's, and runs no second time.
      if (running.has(request.id)) return;
      if (model === undefined) {
        writer.fail(
          404,
          `This worker does not serve the model "${request.model}"`,
          "worker_model_not_served",
        );
      } else if (!namesOnlyItsModel(request)) {
        writer.fail(400, "The request's body names another model than the request", "worker_model_mismatch");
      } else if (running.size >= maxConcurrency) {
        const runs = `it runs ${running.size} of at most ${maxConcurrency} requests`;
        writer.fail(503, `This worker is busy: ${runs}`, "worker_busy");
      } else if (backend === undefined) {
        writer.fail(502, "This worker has no backend at the moment", "backend_unreachable");
      } else {
        run(request, writer, backend, model);
      }
    },
    cancel: (id) => running.get(id)?.stop({ kind: "cancelled" }),
    endAll(end) {
      for (const job of running.values()) job.stop(end);
    },
    idle() {
      if (running.size === 0) return Promise.resolve();
      return new Promise((resolve) => waiting.push(resolve));
    },
  };
}
