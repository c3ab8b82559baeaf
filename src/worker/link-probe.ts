import type { Clock } from "../base/clock.ts";
import { parseRetryAfter } from "../base/retry-after.ts";
import { connectUrl, type WorkerConfig } from "./config.ts";
import type { DialFailure } from "./connection.ts";
import { explainDial, relayTls } from "./relay-trust.ts";

const PROBE_TIMEOUT_MS = 10_000;
/** Without a usable `Retry-After`, a throttled worker waits at least this long. */
const DEFAULT_RETRY_AFTER_MS = 5_000;
/** No relay throttles for longer: it would be a mistake, or a proxy's own. */
const MAX_RETRY_AFTER_MS = 600_000;

/** Why the relay or the way to it refused, or the subprotocol that it picked, empty for none. */
export type LinkProbe = { failure: DialFailure } | { failure: undefined; protocol: string };

/**
 * Asks the relay for the link by a plain HTTP request. A WebSocket client does not tell why an upgrade
 * was refused; this request gets the same answer, with its status and headers. If the relay agrees
 * (101), the connection is given up at once, before anything was registered.
 *
 * @param protocols subprotocols to offer
 */
export async function probeLink(
  config: Pick<WorkerConfig, "proxyUrl" | "provider" | "workerSecret" | "caPem" | "pins">,
  clock: Clock,
  protocols: readonly string[] = [],
): Promise<LinkProbe> {
  const abort = new AbortController();
  const timeout = AbortSignal.timeout(PROBE_TIMEOUT_MS);
  try {
    const terms = await relayTls(config, clock, timeout);
    if ("failure" in terms) return terms;
    const response = await fetch(connectUrl(config), {
      headers: {
        "x-worker-secret": config.workerSecret,
        connection: "Upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString("base64"),
        ...(protocols.length > 0 && { "sec-websocket-protocol": protocols.join(", ") }),
      },
      redirect: "manual",
      keepalive: false,
      proxy: false,
      ...(terms.tls !== undefined && { tls: terms.tls }),
      signal: AbortSignal.any([abort.signal, timeout]),
    });
    const failure = failureOf(response, clock.wall());
    return failure === undefined
      ? { failure, protocol: response.headers.get("sec-websocket-protocol") ?? "" }
      : { failure };
  } catch (error) {
    if (timeout.aborted) return { failure: { kind: "silent" } };
    return { failure: await explainDial(config, error, clock) };
  } finally {
    abort.abort();
  }
}

function failureOf(response: Response, wallMs: number): DialFailure | undefined {
  switch (response.status) {
    case 101:
      return undefined;
    case 401:
    case 403:
      return { kind: "unauthorised", how: `HTTP ${response.status}` };
    case 429:
      return { kind: "throttled", retryAfterMs: patience(response.headers.get("retry-after"), wallMs) };
    default:
      return { kind: "status", status: response.status };
  }
}

function patience(retryAfter: string | null, wallMs: number): number {
  return Math.min(parseRetryAfter(retryAfter, wallMs) ?? DEFAULT_RETRY_AFTER_MS, MAX_RETRY_AFTER_MS);
}
