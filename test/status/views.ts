import type { CertificateView, WorkerView } from "../../src/commands/status-answers.ts";
import type { StatusView } from "../../src/commands/status-view.ts";

export function worker(name: string, more: Partial<WorkerView> = {}): WorkerView {
  return {
    id: `w_${name}`,
    name,
    provider: "local",
    models: ["llama3.1:8b"],
    in_flight: 0,
    load: 0,
    max_concurrent: 4,
    is_draining: false,
    is_resting: false,
    is_suspended: false,
    connected_secs: 3_720,
    ...more,
  };
}

export function certificate(more: Partial<CertificateView> = {}): CertificateView {
  return {
    subject: "relay.example.com",
    names: ["relay.example.com"],
    issuer: "CN=R13",
    not_after: "2026-12-24T20:10:00.000Z",
    ordering: false,
    renew_at: "2026-11-30T08:00:00.000Z",
    next_try_at: null,
    last_error: null,
    ...more,
  };
}

/** A relay that does well, with nobody on it. */
export function view(more: Partial<StatusView> = {}): StatusView {
  return {
    at: "2026-11-21T20:10:00.000Z",
    relay: "http://127.0.0.1:8080",
    version: "1.2.3",
    uptime_secs: 11_100,
    ready: true,
    reasons: [],
    warnings: [],
    requests_in_flight: 0,
    queue_depth: 0,
    queued_by_priority: { high: 0, normal: 0, low: 0 },
    bytes_held: 0,
    rates: null,
    workers: [],
    models: [],
    certificates: [],
    notes: [],
    token_accepted: null,
    ...more,
  };
}

/** What a relay tells everybody, at `/health` and `/readyz`, of which the tests need no more. */
export const BARE_HEALTH = {
  version: "1.2.3",
  workers: [],
  uptime_secs: 1,
  queued_by_priority: {},
  ready: true,
  reasons: [],
  warnings: [],
};
