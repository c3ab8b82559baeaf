import { version } from "../base/build-info.ts";
import type { CertificateReport } from "../tls/source.ts";
import { certificateStatus, certificateTroubles } from "./certificate-status.ts";
import { loadOf } from "./core/registry.ts";
import type { Relay } from "./relay.ts";

/** `GET /health`: what operators and their scripts read. Fields are added, never renamed. */
export function health(relay: Relay, nowMs: number, certificates: readonly CertificateReport[]): object {
  const { core } = relay;
  const workers = [...core.registry.values()].map((worker) => ({
    id: worker.id,
    name: worker.name,
    provider: worker.provider,
    models: [...worker.models],
    in_flight: worker.held.size,
    load: loadOf(worker),
    max_concurrent: worker.maxConcurrent,
    is_draining: worker.draining,
    is_resting: worker.restUntil > nowMs,
    is_suspended: worker.suspended,
    suspended_for_secs: secondsOf(relay.sessions.get(worker.id)?.suspendedForMs),
  }));
  return {
    status: core.draining ? "draining" : "ok",
    version,
    workers_connected: workers.length,
    queue_depth: core.queueLength,
    queued_by_priority: core.queuedByPriority,
    requests_in_flight: core.requestCount - core.queueLength,
    bytes_held: relay.budget.held,
    uptime_secs: Math.floor((nowMs - relay.startedAt) / 1_000),
    workers,
    models_provider: relay.config.provider,
    ...(certificates.length > 0 && { certificates: certificates.map(certificateStatus) }),
  };
}

/**
 * `GET /readyz`: whether new requests should be sent here. A relay without workers is ready, since
 * workers must be able to reach it to change that; it says so among its warnings.
 */
export function readiness(
  relay: Relay,
  certificates: readonly CertificateReport[],
  wallMs: number,
  others: readonly string[] = [],
): { ready: boolean; reasons: string[]; warnings: string[] } {
  const { core } = relay;
  const reasons = core.draining ? ["the relay is shutting down"] : [];
  const warnings: string[] = [];
  const troubles = new Set(certificates.flatMap((report) => certificateTroubles(report, wallMs)));
  // Without any certificate nobody can be served; one that is missing beside others keeps its own name out.
  const none =
    certificates.length > 0 &&
    certificates.every(({ certificate, unserved }) => certificate === undefined || unserved !== undefined);
  (none ? reasons : warnings).push(...troubles);
  warnings.push(...others);
  if (core.registry.size === 0) warnings.push("no worker is connected");
  else if (core.registry.models().length === 0) warnings.push("no connected worker offers a model");
  if (core.queueLength >= relay.config.maxQueueLen) warnings.push("the queue is full");
  return { ready: reasons.length === 0, reasons, warnings };
}

function secondsOf(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.round(ms / 1_000);
}
