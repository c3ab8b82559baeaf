import { WORKER_PATH } from "../protocol/paths.ts";

/** A model as clients ask for it, and as the backend calls it. */
export interface ModelName {
  public: string;
  backend: string;
}

/** Everything that a worker needs to know; `src/commands` makes one from flags and environment. */
export interface WorkerConfig {
  /** Address of the relay, `http:` or `https:`, with a base path if it has one. */
  proxyUrl: URL | string;
  /** Proves to the relay that this worker may serve. Never logged. */
  workerSecret: string;
  /** Authorities in PEM that may vouch for the relay's certificate, beside those of the system. */
  caPem?: string;
  /** Keys of which the relay's certificate must have one, as `pinOf` gives them; authorities do not count then. */
  pins?: readonly string[];
  /** Address of the inference server; absent: look for one on this machine. */
  backendUrl: string | undefined;
  /** `all`: whatever the backend lists; `names` stand beside that, or alone. */
  models: { all: boolean; names: ModelName[] };
  workerName: string;
  /** Newest version of the link that is offered; `auto` is the newest there is. */
  linkVersion: "auto" | "v1";
  /** Compresses what crosses a link of v2, if the relay can; for slow lines. */
  compress?: boolean;
  /** Requests at the backend at once. */
  maxConcurrency: number;
  /** Sent to the backend as `Authorization: Bearer`. Never logged. */
  backendApiKey?: string;
  /** The relay's group of workers that this one joins. */
  provider: string;
  /** Time that running requests get to finish when the worker leaves. */
  drainTimeoutMs: number;
  /** Longest wait for the first byte of an answer's body; 0 is no limit. */
  firstByteTimeoutMs: number;
  /** Longest silence in an answer after its first byte; 0 is no limit. */
  idleTimeoutMs: number;
}

/** Address of the worker link: `https` becomes `wss`, and a base path is kept. */
export function linkUrl(config: Pick<WorkerConfig, "proxyUrl" | "provider">): URL {
  const url = connectUrl(config);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "wss:" : "ws:";
  return url;
}

/** The same address for a plain HTTP request, which can tell why the link was refused. */
export function connectUrl(config: Pick<WorkerConfig, "proxyUrl" | "provider">): URL {
  const url = new URL(config.proxyUrl);
  url.protocol = url.protocol === "https:" || url.protocol === "wss:" ? "https:" : "http:";
  url.pathname = `${url.pathname.replace(/\/+$/, "")}${WORKER_PATH}`;
  url.search = "";
  url.hash = "";
  url.searchParams.set("provider", config.provider);
  return url;
}
