import type { CertificateReport } from "../../tls/source.ts";
import type { Relay } from "../relay.ts";
import { PRIORITIES } from "../core/priority.ts";
import type { StoreHealth } from "../store/store-health.ts";
import type { UsageBacklog } from "../usage/usage-writer.ts";
import { labelText, type Exposition } from "./exposition.ts";

const DAY_MS = 86_400_000;
/** Of the relay's own certificates; more would be a mistake. */
const MAX_NAMES = 200;

/** How the relay stands at this moment. */
export function writeRelay(out: Exposition, relay: Relay): void {
  const { core, budget, config } = relay;
  out.family("modelrelay_queue_length", "gauge", "Requests that wait for a worker, by their priority");
  const queued = core.queuedByPriority;
  for (const priority of PRIORITIES) out.sample(labelText({ priority }), queued[priority]);
  out.single(
    "modelrelay_queue_limit",
    "gauge",
    "Requests that may wait; one more is refused",
    config.maxQueueLen,
  );
  out.single(
    "modelrelay_requests_in_flight",
    "gauge",
    "Requests that a worker has",
    core.requestCount - core.queueLength,
  );
  out.single(
    "modelrelay_bytes_held",
    "gauge",
    "Bytes of request bodies and undelivered answers that are in memory",
    budget.held,
  );
  out.single("modelrelay_bytes_held_limit", "gauge", "Bytes that may be held", budget.limit);
  out.single(
    "modelrelay_models_offered",
    "gauge",
    "Models that can be asked for now",
    core.registry.models().length,
  );
  out.single("modelrelay_draining", "gauge", "1 while the relay is shutting down", Number(core.draining));
}

/**
 * Whether the database serves, and what waits for it.
 *
 * @param lostBodies `undefined` where bodies are not kept
 */
export function writeStore(
  out: Exposition,
  health: StoreHealth | undefined,
  backlog?: UsageBacklog,
  lostBodies?: number,
): void {
  out.single(
    "modelrelay_database_up",
    "gauge",
    "1 while the database serves; 0 while keys come from memory and usage waits on disk",
    health && Number(health.ok),
  );
  out.single(
    "modelrelay_usage_waiting_bytes",
    "gauge",
    "Usage on disk that waits for the database",
    backlog?.bytes,
  );
  out.single(
    "modelrelay_usage_lost_total",
    "counter",
    "Requests whose usage neither the database nor the disk took",
    backlog?.lost,
  );
  out.single(
    "modelrelay_bodies_lost_total",
    "counter",
    "Requests whose prompt and answer were to be kept and found no room",
    lostBodies,
  );
}

/** The relay's own certificates, by each of their names. */
export function writeCertificates(
  out: Exposition,
  reports: readonly CertificateReport[],
  wallMs: number,
): void {
  if (reports.length === 0) return;
  const byName = new Map<string, CertificateReport>();
  for (const report of reports) {
    for (const name of [report.subject, ...report.names])
      if (byName.size < MAX_NAMES && !byName.has(name)) byName.set(name, report);
  }
  const rows = [...byName].map(([name, report]) => ({ labels: labelText({ name }), report }));
  out.family(
    "modelrelay_certificate_served",
    "gauge",
    "1 if a name is served with a certificate that is valid now",
  );
  for (const { labels, report } of rows) out.sample(labels, Number(isServed(report, wallMs)));
  out.family("modelrelay_certificate_days_left", "gauge", "Days until a name's certificate expires");
  for (const { labels, report } of rows) {
    if (report.certificate !== undefined) out.sample(labels, (report.certificate.notAfter - wallMs) / DAY_MS);
  }
  out.family(
    "modelrelay_certificate_failing",
    "gauge",
    "1 if the last attempt to get or renew a name's certificate failed",
  );
  for (const { labels, report } of rows)
    out.sample(labels, Number(report.lastError !== undefined && report.ordering !== true));
}

function isServed({ certificate, unserved }: CertificateReport, wallMs: number): boolean {
  if (certificate === undefined || unserved !== undefined) return false;
  return certificate.notBefore <= wallMs && certificate.notAfter > wallMs;
}
