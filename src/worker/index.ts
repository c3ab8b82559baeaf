import type { Clock, Timer } from "../base/clock.ts";
import { messageOf, unreachable } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { FEATURES, type Acceptance } from "../protocol/messages.ts";
import { V1_VERSION } from "../protocol/v1.ts";
import { createBackend, shownUrl, type Backend } from "./backend.ts";
import { linkUrl, type ModelName, type WorkerConfig } from "./config.ts";
import {
  startConnection,
  stepConnection,
  type ConnectionEffect,
  type ConnectionEvent,
  type ConnectionState,
  type DialFailure,
} from "./connection.ts";
import type { FoundBackend } from "./discover.ts";
import { createJobs } from "./jobs.ts";
import { watchModels, type Offer } from "./models.ts";
import { openSession, type Session } from "./session.ts";

export type { ModelName, WorkerConfig } from "./config.ts";

/** The first look at the backend may delay the first dial by this much. */
const FIRST_LOOK_MS = 2_000;

/** What happens to a worker, as it happens. */
export type WorkerEvent =
  | { kind: "connected" }
  | { kind: "registered"; workerId: string; models: string[] }
  | { kind: "failed"; failure: DialFailure }
  /** The connection is lost, and the session waits this long for another one. */
  | { kind: "suspended"; graceMs: number }
  | { kind: "resumed" }
  | { kind: "disconnected"; code: number; reason: string }
  /** What is offered has changed. */
  | { kind: "models"; models: string[] }
  | { kind: "load"; load: number }
  | { kind: "closed"; code: number };

export interface WorkerStatus {
  state: ConnectionState["kind"];
  /** Address of the link. */
  relay: string;
  /** As the relay calls this worker; `undefined` while there is no link. */
  workerId: string | undefined;
  models: string[];
  load: number;
  maxConcurrency: number;
  backend: { url: string | undefined; up: boolean };
}

export interface RunningWorker extends AsyncDisposable {
  /** Resolves when the worker has left: 0 after a drain, 1 after `stop`. */
  readonly closed: Promise<{ code: number }>;
  /** Takes nothing new, finishes what runs, leaves. Calling it again returns the same promise. */
  drain(): Promise<void>;
  /** Leaves at once; running requests break off. */
  stop(): void;
  status(): WorkerStatus;
  /** @returns a function that ends the subscription */
  subscribe(listener: (event: WorkerEvent) => void): () => void;
}

export interface WorkerParts {
  clock: Clock;
  log: Log;
  /** In [0, 1); spreads reconnects. */
  random?: () => number;
  /** Looks for a backend when none is named. */
  find?: () => Promise<FoundBackend | undefined>;
  onEvent?: (event: WorkerEvent) => void;
}

/** Of the time that a relay grants, what is left for the last words to arrive before it cuts the link. */
function withMargin(timeoutMs: number): number {
  return timeoutMs - Math.min(1_000, timeoutMs / 5);
}

/** Starts a worker: it watches its backend, keeps a link to the relay, and runs what the relay sends. */
export function startWorker(config: WorkerConfig, parts: WorkerParts): RunningWorker {
  const { clock, log } = parts;
  const random = parts.random ?? Math.random;
  const listeners = new Set<(event: WorkerEvent) => void>(parts.onEvent === undefined ? [] : [parts.onEvent]);
  const closed = Promise.withResolvers<{ code: number }>();

  let [state] = startConnection();
  let session: Session | undefined;
  let workerId: string | undefined;
  let timer: Timer | undefined;
  let drainTimer: Timer | undefined;
  let drainMs = config.drainTimeoutMs;
  let leaving: Promise<void> | undefined;
  let backend: Backend | undefined;
  let registered: readonly string[] = [];
  /** Names that the relay left out of its acknowledgement. */
  let refused = new Set<string>();
  /** What was offered on this link: a request may have been on its way when the backend went down. */
  const offered = new Map<string, ModelName>();

  const watch = watchModels({
    config,
    clock,
    log,
    random,
    ...(parts.find !== undefined && { find: parts.find }),
    changed: offerChanged,
  });
  const jobs = createJobs({
    clock,
    maxConcurrency: config.maxConcurrency,
    backend: () => backend,
    resolve: (model) =>
      refused.has(model)
        ? undefined
        : // Paths such as /api/tags name no model.
          model === ""
          ? { public: "", backend: "" }
          : (watch.offer.models.get(model) ?? offered.get(model)),
    backendFailed(error) {
      log.warn(error.message, { backend: backend && shownUrl(backend.url) });
      void watch.refresh();
    },
    changed: (load) => emit({ kind: "load", load }),
  });

  function emit(event: WorkerEvent): void {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        log.error(`A listener failed: ${messageOf(error)}`);
      }
    }
  }

  function offeredNames(): string[] {
    return [...watch.offer.models.keys()];
  }

  function offerChanged(offer: Offer): void {
    const url = offer.backendUrl;
    if (url !== undefined && url !== backend?.url) {
      const { backendApiKey: apiKey, firstByteTimeoutMs, idleTimeoutMs } = config;
      backend?.close();
      backend = createBackend({ url, apiKey, clock, firstByteTimeoutMs, idleTimeoutMs });
    }
    if (state.kind === "ready") sendModels();
    emit({ kind: "models", models: offeredNames() });
  }

  function sendModels(): void {
    for (const [name, model] of watch.offer.models) offered.set(name, model);
    session?.codec.models(offeredNames(), jobs.load);
  }

  /** The relay has asked, so it is told even when nothing has changed. */
  async function tellFreshModels(isCurrent: () => boolean): Promise<void> {
    await watch.refresh();
    if (isCurrent() && state.kind === "ready") sendModels();
  }

  function step(event: ConnectionEvent): void {
    const [next, effects] = stepConnection(state, event, clock.now(), random);
    state = next;
    for (const effect of effects) carryOut(effect);
  }

  function carryOut(effect: ConnectionEffect): void {
    switch (effect.kind) {
      case "dial":
        return dial();
      case "wait":
        timer = clock.after(effect.ms, () => step({ kind: "waited" }));
        return;
      case "say":
        return log[effect.level](
          effect.action === undefined ? effect.message : `${effect.message} → ${effect.action}`,
        );
      case "drainJobs":
        return drainJobs();
      case "closeLink":
        return session?.close(effect.code, effect.reason);
      case "finish":
        return finish(effect.code);
      default:
        return unreachable(effect);
    }
  }

  function dial(): void {
    try {
      session = openLink();
    } catch (error) {
      // Thrown for a secret that no HTTP header can carry.
      step({ kind: "failed", failure: { kind: "unreachable", detail: messageOf(error) } });
    }
  }

  function openLink(): Session {
    let opened: Session | undefined;
    const isCurrent = (): boolean => session === opened && state.kind !== "closed";
    opened = openSession(
      config,
      { clock, random },
      {
        registration() {
          emit({ kind: "connected" });
          registered = offeredNames();
          const { workerName: name, maxConcurrency: maxConcurrent } = config;
          return {
            name,
            models: [...registered],
            maxConcurrent,
            load: jobs.load,
            protocolVersion: V1_VERSION,
            features: [...FEATURES],
          };
        },
        registered(acceptance) {
          if (isCurrent()) accepted(acceptance);
        },
        request(request) {
          if (opened !== undefined) jobs.take(request, opened.codec.respond(request));
        },
        cancel: (id) => jobs.cancel(id),
        drain(reason, timeoutMs) {
          if (state.kind !== "ready") return;
          log.info(`The relay asks this worker to leave${reason === undefined ? "" : `: ${reason}`}`);
          drainMs = Math.min(withMargin(timeoutMs ?? config.drainTimeoutMs), config.drainTimeoutMs);
          step({ kind: "drain", purpose: "redial" });
        },
        refreshModels: () => void tellFreshModels(isCurrent),
        load: () => jobs.load,
        suspended(graceMs) {
          const requests = jobs.load;
          log.warn("The connection to the relay is lost; requests go on while it is dialled again", {
            requests,
            seconds: graceMs / 1_000,
          });
          emit({ kind: "suspended", graceMs });
        },
        resumed() {
          log.info("The connection to the relay is back", { requests: jobs.load });
          emit({ kind: "resumed" });
        },
        ended(end) {
          if (!isCurrent()) return;
          drainTimer?.cancel();
          workerId = undefined;
          session = undefined;
          // The relay has given these requests up, or will run them elsewhere.
          jobs.endAll({ kind: "cancelled" });
          emit(end.kind === "failed" ? end : { kind: "disconnected", code: end.code, reason: end.reason });
          step(end);
        },
      },
    );
    return opened;
  }

  function accepted(acceptance: Acceptance): void {
    ({ workerId } = acceptance);
    refused = new Set(registered.filter((name) => !acceptance.models.includes(name)));
    offered.clear();
    for (const warning of acceptance.warnings) log.warn(`The relay says: ${warning}`);
    for (const name of refused) log.warn(`The relay did not accept the model "${name}"`);
    step({ kind: "registered" });
    log.info("Connected to the relay", { relay: linkUrl(config).host, models: acceptance.models.join(", ") });
    // Relays in the field give waiting requests to a new worker only once it says something more.
    sendModels();
    emit({ kind: "registered", workerId: acceptance.workerId, models: acceptance.models });
  }

  function drainJobs(): void {
    drainTimer?.cancel();
    session?.codec.models([], jobs.load);
    drainTimer = clock.after(drainMs, () => {
      log.warn("Requests still ran when the time to finish was over", { requests: jobs.load });
      jobs.endAll({ kind: "shutdown" });
    });
    const link = session;
    void jobs
      .idle()
      .then(() => link?.settled())
      .then(() => step({ kind: "drained" }));
  }

  function finish(code: number): void {
    timer?.cancel();
    drainTimer?.cancel();
    watch.stop();
    jobs.endAll({ kind: "shutdown" });
    backend?.close();
    emit({ kind: "closed", code });
    closed.resolve({ code });
  }

  async function whenClosed(): Promise<void> {
    await closed.promise;
  }

  function drain(): Promise<void> {
    if (leaving === undefined) {
      leaving = whenClosed();
      drainMs = config.drainTimeoutMs;
      step({ kind: "drain", purpose: "leave" });
    }
    return leaving;
  }

  async function begin(): Promise<void> {
    const looked = Promise.withResolvers<void>();
    const limit = clock.after(FIRST_LOOK_MS, looked.resolve);
    await Promise.race([watch.refresh(), looked.promise]);
    limit.cancel();
    if (state.kind === "dialing") dial();
  }

  void begin();
  return {
    closed: closed.promise,
    drain,
    stop: () => step({ kind: "stop" }),
    status: () => ({
      state: state.kind,
      relay: linkUrl(config).href,
      workerId,
      models: offeredNames(),
      load: jobs.load,
      maxConcurrency: config.maxConcurrency,
      backend: {
        url: watch.offer.backendUrl && shownUrl(watch.offer.backendUrl),
        up: watch.offer.up,
      },
    }),
    subscribe(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async [Symbol.asyncDispose]() {
      step({ kind: "stop" });
      await closed.promise;
    },
  };
}
