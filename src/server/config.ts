import type { OwnLimits } from "./limits/request-limits.ts";

import type { TracingConfig } from "./trace/tracing.ts";

/** Where `serve` listens. */
export interface ListenAddress {
  host: string;
  /** 0 asks the system for a free one. */
  port: number;
}

/** Settings that can change while the relay runs. Times in ms, sizes in bytes. */
export interface ReloadableConfig {
  maxQueueLen: number;
  queueTimeoutMs: number;
  /** Whole time of a request; 0 = no limit. */
  requestTimeoutMs: number;
  /** Largest body of one request. */
  maxBody: number;
  /** Silence after which a stream gets a keep-alive; 0 = never. */
  sseKeepaliveMs: number;
  /** Origins that browsers may call `/v1/*` from; `*` for any, empty for none. */
  corsOrigin: readonly string[];
  drainTimeoutMs: number;
  /** For clients without a key, and for all together; none if absent. */
  limits?: OwnLimits | undefined;
}

export interface RelayConfig extends ReloadableConfig {
  /** What a worker must present. */
  workerSecret: string;
  /** A key that may do everything, beside those of the database. */
  apiKey?: string | undefined;
  /** Whether clients must show a key; if absent, where there is an `apiKey`. */
  requireApiKeys?: boolean | undefined;
  /** What operators must show; absent where there is no admin API. */
  adminToken?: string | undefined;
  /** Whether anybody may read the metrics; else who shows `metricsToken`. */
  openMetrics?: boolean;
  metricsToken?: string | undefined;
  /** Workers of this provider serve the relay's clients. */
  provider: string;
  /** Bytes of a response that may wait for its client on a v2 link. */
  linkWindow: number;
  /** Time for which a worker whose connection is lost keeps its requests; 0 = none. */
  linkGraceMs: number;
  /** Networks of proxies whose word about a client's address is taken. */
  trustedProxy: readonly string[];
  /** Bytes of all request bodies and undelivered answers together. */
  maxInflightBytes: number;
  /** Bytes held for one client that does not read. */
  maxResponseBuffer: number;
  /** Where traces of requests go; absent for nowhere. */
  tracing?: TracingConfig | undefined;
}
