import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { createBackend, shownUrl, type Backend } from "./backend.ts";
import { linkUrl, type WorkerConfig } from "./config.ts";
import type { ConnectionState } from "./connection.ts";
import type { FoundBackend } from "./discover.ts";
import { watchModels, type Offer } from "./models.ts";
import { RelayLink, type LinkEvent, type LinkOwner } from "./relay-link.ts";
import { Slots } from "./slots.ts";

export type { ModelName, WorkerConfig } from "./config.ts";

/** The first look at the backend may delay the first dial by this much. */
const FIRST_LOOK_MS = 2_000;

/** What happens to a worker, as it happens. */
export type WorkerEvent =
  | LinkEvent
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

/** Starts a worker: it watches its backend, keeps a link to the relay, and runs what the relay sends. */
export function startWorker(config: WorkerConfig, parts: WorkerParts): RunningWorker {
  const { clock, log } = parts;
  const random = parts.random ?? Math.random;
  const listeners = new Set<(event: WorkerEvent) => void>(parts.onEvent === undefined ? [] : [parts.onEvent]);
  const closed = Promise.withResolvers<{ code: number }>();
  const slots = new Slots(config.maxConcurrency);

  let leaving: Promise<void> | undefined;
  let backend: Backend | undefined;
  let telling = false;

  const watch = watchModels({
    config,
    clock,
    log,
    random,
    ...(parts.find !== undefined && { find: parts.find }),
    changed: offerChanged,
  });
  const owner: LinkOwner = {
    slots,
    backend: () => backend,
    models: () => watch.offer.models,
    refreshModels: () => watch.refresh(),
    backendFailed(error) {
      log.warn(error.message, { backend: backend && shownUrl(backend.url) });
      void watch.refresh();
    },
    happened(link, event) {
      if (link === current) emit(event);
    },
    loadChanged() {
      emit({ kind: "load", load: slots.load });
      if (links.size > 1) tellLoad();
    },
    moveOn() {
      current = newLink();
      current.begin();
    },
    finished(link, code) {
      links.delete(link);
      if (links.size === 0) finish(code);
    },
  };
  /** One, and while a relay is being replaced also that to the process that was it before. */
  const links = new Set<RelayLink>();
  let current = newLink();

  function newLink(): RelayLink {
    const link = new RelayLink({ config, clock, log, random }, owner);
    links.add(link);
    return link;
  }

  function emit(event: WorkerEvent): void {
    for (const listener of listeners) {
      try {
        listener(event);
      } catch (error) {
        log.error(`A listener failed: ${messageOf(error)}`);
      }
    }
  }

  /** Each relay knows how busy it makes the worker itself, and has to be told what others do; once a turn. */
  function tellLoad(): void {
    if (telling) return;
    telling = true;
    setImmediate(() => {
      telling = false;
      for (const link of links) link.tell();
    });
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
    for (const link of links) link.tell();
    emit({ kind: "models", models: offeredNames() });
  }

  function finish(code: number): void {
    watch.stop();
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
      for (const link of links) link.leave();
    }
    return leaving;
  }

  function stop(): void {
    for (const link of links) link.stop();
  }

  async function begin(): Promise<void> {
    const looked = Promise.withResolvers<void>();
    const limit = clock.after(FIRST_LOOK_MS, looked.resolve);
    await Promise.race([watch.refresh(), looked.promise]);
    limit.cancel();
    current.begin();
  }

  void begin();
  return {
    closed: closed.promise,
    drain,
    stop,
    status: () => ({
      state: current.state,
      relay: linkUrl(config).href,
      workerId: current.workerId,
      models: offeredNames(),
      load: slots.load,
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
      stop();
      await closed.promise;
    },
  };
}
