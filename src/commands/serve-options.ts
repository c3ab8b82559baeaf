import { UsageError } from "../base/errors.ts";
import { MAX_WORKER_NAME, V2_MAX_WINDOW, V2_MIN_WINDOW } from "../protocol/limits.ts";
import { bodyOptions, checkBodies } from "./body-options.ts";
import { limitOptions } from "./limit-options.ts";
import { databaseUrlOption } from "./database-options.ts";
import { defineOptions, type Config } from "./options.ts";
import { configOption, dataDirOption, logFormatOption, logLevelOption } from "./shared-options.ts";
import type { Reading } from "./read-config.ts";
import { checkTls, tlsModeOf, tlsOptions } from "./tls-options.ts";
import { traceOptions } from "./trace-options.ts";
import {
  duration,
  integer,
  isLoopback,
  label,
  listenAddress,
  onOff,
  origins,
  secret,
  size,
  sizeBetween,
} from "./value-kinds.ts";

export const serveOptions = defineOptions({
  listen: {
    env: "LISTEN_ADDR",
    default: "127.0.0.1:8080",
    hint: "HOST:PORT",
    help: "Address to listen on; port 0 takes a free one",
    schema: listenAddress,
  },
  workerSecret: {
    env: "WORKER_SECRET",
    secret: true,
    hint: "SECRET",
    help: "Secret that workers must show",
    defaultText: "made at the first start and kept in the data directory",
    schema: secret,
  },
  ...tlsOptions,
  apiKey: {
    env: "MODELRELAY_API_KEY",
    secret: true,
    hint: "KEY",
    help: "Key that clients may show, beside those of modelrelay keys create",
    defaultText: "none on 127.0.0.1; made at the first start on an address that others can reach",
    schema: secret,
  },
  requireApiKeys: {
    env: "MODELRELAY_REQUIRE_API_KEYS",
    kind: "switch",
    help: "Ask every client for a key",
    defaultText: "false on 127.0.0.1; true on an address that others can reach, and with --api-key",
    schema: onOff,
  },
  allowAnonymous: {
    env: "MODELRELAY_ALLOW_ANONYMOUS",
    kind: "switch",
    default: "false",
    help: "Let anyone who can reach the address use the models, without a key",
    schema: onOff,
  },
  keyCacheTtlMs: {
    flag: "key-cache-ttl",
    env: "MODELRELAY_KEY_CACHE_TTL",
    default: "15m",
    hint: "DURATION",
    help: "Time for which known keys hold while the database cannot be reached",
    schema: duration,
  },
  adminToken: {
    env: "MODELRELAY_ADMIN_TOKEN",
    secret: true,
    hint: "TOKEN",
    help: "Token that operators must show on /admin/",
    defaultText: "made at the first start and kept in the data directory",
    schema: secret,
  },
  metricsToken: {
    env: "MODELRELAY_METRICS_TOKEN",
    secret: true,
    hint: "TOKEN",
    help: "Token that whoever reads /metrics must show",
    defaultText: "none on 127.0.0.1; on an address that others can reach nobody reads them without one",
    schema: secret,
  },
  ...limitOptions,
  provider: {
    env: "PROVIDER_NAME",
    default: "local",
    hint: "NAME",
    help: "Provider whose workers serve this relay; one that states none is of provider local",
    schema: label(MAX_WORKER_NAME),
  },
  maxQueueLen: {
    env: "MAX_QUEUE_LEN",
    default: "100",
    hint: "NUMBER",
    reload: true,
    help: "Requests that may wait for a worker; one more is refused with 503",
    schema: integer(0, 1_000_000),
  },
  queueTimeoutMs: {
    flag: "queue-timeout",
    env: "QUEUE_TIMEOUT_SECS",
    default: "30s",
    hint: "DURATION",
    reload: true,
    help: "Longest wait of a request for a worker",
    schema: duration,
  },
  requestTimeoutMs: {
    flag: "request-timeout",
    env: "REQUEST_TIMEOUT_SECS",
    default: "300s",
    hint: "DURATION",
    reload: true,
    help: "Longest time of a whole request; 0 for no limit",
    schema: duration,
  },
  maxBody: {
    env: "MAX_BODY",
    default: "128MiB",
    hint: "SIZE",
    reload: true,
    help: "Largest request body",
    schema: size,
  },
  maxInflightBytes: {
    env: "MAX_INFLIGHT_BYTES",
    default: "1GiB",
    hint: "SIZE",
    help: "Request bodies and undelivered answers held at once, all together",
    schema: size,
  },
  maxResponseBuffer: {
    env: "MAX_RESPONSE_BUFFER",
    default: "64MiB",
    hint: "SIZE",
    help: "Held for one client that does not read; beyond it that client is cut off",
    schema: size,
  },
  linkGraceMs: {
    flag: "link-grace",
    env: "LINK_GRACE_SECS",
    default: "15s",
    hint: "DURATION",
    help: "Time that a worker whose connection is cut has to come back, with its requests running on; 0 for none",
    schema: duration,
  },
  linkWindow: {
    env: "LINK_WINDOW",
    default: "256KiB",
    hint: "SIZE",
    help: "Part of an answer that may wait for a client that does not read, before its backend is slowed",
    schema: sizeBetween(V2_MIN_WINDOW, V2_MAX_WINDOW),
  },
  sseKeepaliveMs: {
    flag: "sse-keepalive",
    env: "SSE_KEEPALIVE_SECS",
    default: "15s",
    hint: "DURATION",
    reload: true,
    help: "Silence on a stream before a keep-alive is sent; 0 for none",
    schema: duration,
  },
  corsOrigin: {
    env: "CORS_ORIGIN",
    kind: "list",
    default: "*",
    hint: "ORIGIN",
    reload: true,
    help: "Web origins that may call /v1/*, with commas between them",
    schema: origins,
  },
  drainTimeoutMs: {
    flag: "drain-timeout",
    env: "DRAIN_TIMEOUT_SECS",
    default: "30s",
    hint: "DURATION",
    reload: true,
    help: "Time that running requests get to finish when the relay is stopped",
    schema: duration,
  },
  handoverTimeoutMs: {
    flag: "handover-timeout",
    env: "MODELRELAY_HANDOVER_TIMEOUT",
    default: "1h",
    hint: "DURATION",
    reload: true,
    help: "Time that running requests get to finish when another process takes the relay's place",
    schema: duration,
  },
  usageRetentionMs: {
    flag: "usage-retention",
    env: "MODELRELAY_USAGE_RETENTION",
    default: "90d",
    hint: "DURATION",
    help: "For how long the record of a request is kept; 0 keeps none",
    schema: duration,
  },
  ...bodyOptions,
  dataDir: dataDirOption,
  databaseUrl: databaseUrlOption,
  ...traceOptions,
  logLevel: { ...logLevelOption, reload: true },
  logFormat: logFormatOption,
  config: configOption("serve"),
});

/** Times in ms, sizes in bytes. */
export type ServeConfig = Config<typeof serveOptions>;

/** Whether programs on other machines can reach the relay, by itself or through a proxy that stands before it. */
export function isPublic(config: ServeConfig): boolean {
  const tls = tlsModeOf(config) !== undefined;
  if (config.trustedProxy.length > 0) return true;
  return (tls && !isLoopback(config.httpsPort.host)) || !isLoopback(config.listen.host);
}

/** @throws {UsageError} if one setting asks for a key and another for none */
function checkKeys(config: ServeConfig, from: Reading<typeof serveOptions>["origins"]): void {
  const asking = [
    ...(config.apiKey === undefined ? [] : [`api-key (${from.apiKey})`]),
    ...(config.requireApiKeys === true ? [`require-api-keys (${from.requireApiKeys})`] : []),
  ];
  const open = [
    ...(config.allowAnonymous ? [`allow-anonymous (${from.allowAnonymous})`] : []),
    ...(config.requireApiKeys === false ? [`require-api-keys=false (${from.requireApiKeys})`] : []),
  ];
  if (asking[0] === undefined || open[0] === undefined) return;
  throw new UsageError(
    `Cannot use ${asking[0]} and ${open[0]} together: one asks for a key, the other for none`,
    { action: "Keep one of them" },
  );
}

/** @throws {UsageError} if settings that are each valid make no sense, or are not safe, together */
export function checkServe({ config, origins: from }: Reading<typeof serveOptions>): void {
  checkTls(config, from);
  checkKeys(config, from);
  checkBodies(config, from);
  if (config.maxBody > config.maxInflightBytes) {
    throw new UsageError(
      `Cannot allow a body of ${config.maxBody} bytes (max-body, ${from.maxBody}): all bodies together may take only ${config.maxInflightBytes} (max-inflight-bytes, ${from.maxInflightBytes})`,
      { action: "Lower --max-body or raise --max-inflight-bytes" },
    );
  }
}
