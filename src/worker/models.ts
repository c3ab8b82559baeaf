import type { Clock, Timer } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { MAX_MODELS } from "../protocol/limits.ts";
import { listModels, type BackendReport } from "./backend-models.ts";
import { normalizeBackendUrl } from "./backend.ts";
import type { ModelName, WorkerConfig } from "./config.ts";
import { describeBackend, findBackend, type FoundBackend } from "./discover.ts";

const REFRESH_MS = 30_000;
/** A backend that is down is looked at every 2 to 5 s. */
const RETRY_MS = 2_000;
const RETRY_SPREAD_MS = 3_000;

/** What the worker can serve now. */
export interface Offer {
  /** Public name to backend name; empty while the backend is down. */
  models: ReadonlyMap<string, ModelName>;
  backendUrl: string | undefined;
  up: boolean;
}

/** Watches the backend: which models it has, and whether it answers at all. */
export interface ModelWatch {
  readonly offer: Offer;
  /** Looks at the backend now; a look under way is shared. */
  refresh(): Promise<void>;
  stop(): void;
}

export interface ModelWatchOptions {
  config: Pick<WorkerConfig, "backendUrl" | "backendApiKey" | "models">;
  clock: Clock;
  log: Log;
  random: () => number;
  /** The offer differs from the one before. */
  changed(offer: Offer): void;
  find?: () => Promise<FoundBackend | undefined>;
}

/** Begins to watch. The first offer is empty; `refresh` brings the first real one. */
export function watchModels(options: ModelWatchOptions): ModelWatch {
  const { config, clock, log } = options;
  const find = options.find ?? findBackend;
  let offer: Offer = { models: new Map(), backendUrl: undefined, up: false };
  let found: string | undefined;
  let timer: Timer | undefined;
  let stopped = false;
  let running: Promise<void> | undefined;
  /** What was last said about the backend, so that it is not said again. */
  let told = "";
  const warned = new Set<string>();

  async function look(): Promise<void> {
    const { url, report } = await ask();
    if (stopped) return;
    const models = report.up
      ? offeredModels(config.models, report.models ?? [])
      : new Map<string, ModelName>();
    tell(url, report, models.size);
    const before = offer;
    offer = { models, backendUrl: url, up: report.up };
    if (!sameOffer(before, offer)) options.changed(offer);
    timer?.cancel();
    timer = clock.after(report.up ? REFRESH_MS : RETRY_MS + options.random() * RETRY_SPREAD_MS, () => {
      void refresh();
    });
  }

  async function ask(): Promise<{ url: string | undefined; report: BackendReport | { up: false } }> {
    const known = config.backendUrl ?? found;
    if (known !== undefined) {
      const report = await listModels(known, config.backendApiKey);
      if (report.up || config.backendUrl !== undefined) return { url: normalizeBackendUrl(known), report };
    }
    // None was named, and the one that was found is gone: another may have come.
    const next = await find();
    found = next?.url;
    if (stopped) return { url: found, report: { up: false } };
    if (next !== undefined) log.info(describeBackend(next));
    return next === undefined
      ? { url: undefined, report: { up: false } }
      : { url: next.url, report: { up: true, models: next.models } };
  }

  function tell(url: string | undefined, report: BackendReport | { up: false }, count: number): void {
    if (report.up && report.models !== undefined) warnMissing(report.models);
    let message: string;
    if (report.up) {
      message =
        count > 0
          ? ""
          : `The backend at ${url} lists no models, so there is nothing to serve; name them with --models`;
    } else if ("problem" in report) {
      const { message: text, action } = report.problem;
      message = `${text}; its models are out of service until it answers${action === undefined ? "" : ` → ${action}`}`;
    } else {
      message = `${describeBackend(undefined)}; looking again until there is one, or name it with --backend-url`;
    }
    if (message === told) return;
    if (message !== "") log.warn(message);
    else if (told !== "") log.info(`The backend at ${url} answers again`, { models: count });
    told = message;
  }

  function warnMissing(listed: readonly string[]): void {
    for (const { backend } of config.models.names) {
      if (listed.includes(backend) || warned.has(backend)) continue;
      warned.add(backend);
      log.warn(`The backend does not list the model "${backend}"; it is offered all the same`, {
        listed: listed.slice(0, 10).join(", "),
      });
    }
  }

  function refresh(): Promise<void> {
    if (stopped) return Promise.resolve();
    running ??= look()
      .catch((error: unknown) => log.error(`Cannot look at the backend: ${String(error)}`))
      .finally(() => (running = undefined));
    return running;
  }

  return {
    get offer() {
      return offer;
    },
    refresh,
    stop() {
      stopped = true;
      timer?.cancel();
    },
  };
}

/** What is offered of what the backend lists. */
export function offeredModels(
  wanted: WorkerConfig["models"],
  listed: readonly string[],
): Map<string, ModelName> {
  const offered = new Map<string, ModelName>();
  for (const name of wanted.names) offered.set(name.public, name);
  if (wanted.all) {
    for (const model of listed) {
      if (offered.size >= MAX_MODELS) break;
      if (!offered.has(model)) offered.set(model, { public: model, backend: model });
    }
  }
  return offered;
}

function sameOffer(a: Offer, b: Offer): boolean {
  if (a.up !== b.up || a.backendUrl !== b.backendUrl || a.models.size !== b.models.size) return false;
  for (const name of a.models.keys()) if (!b.models.has(name)) return false;
  return true;
}
