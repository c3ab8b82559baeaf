import type { Clock } from "../../base/clock.ts";
import { version } from "../../base/build-info.ts";
import { loadOf } from "../core/registry.ts";
import type { KeyRing } from "../keys/key-ring.ts";
import type { Relay } from "../relay.ts";
import type { AdminRoute } from "./admin-desk.ts";
import type { LastMinute } from "./last-minute.ts";
import type { RequestTotals } from "./request-totals.ts";

/** What is counted of requests that have ended. */
export interface Ended {
  totals: RequestTotals;
  lastMinute: LastMinute;
}

/** Shows what runs on this relay. */
export function relayRoutes(relay: Relay, ended: Ended, ring: KeyRing, clock: Clock): AdminRoute[] {
  return [
    {
      method: "GET",
      path: "/admin/workers",
      handle: () => ({ status: 200, body: { workers: workersOf(relay, clock.now()) } }),
    },
    {
      method: "GET",
      path: "/admin/stats",
      handle: () => ({ status: 200, body: statsOf(relay, ended, ring, clock) }),
    },
  ];
}

function workersOf({ core, sessions }: Relay, nowMs: number): object[] {
  return [...core.registry.values()].map((worker) => {
    const session = sessions.get(worker.id);
    return {
      id: worker.id,
      name: worker.name,
      provider: worker.provider,
      address: session?.address ?? null,
      /** The named secret that it showed; null for the relay's own. */
      secret: session?.secret === undefined ? null : { id: session.secret.id, name: session.secret.name },
      models: [...worker.models],
      in_flight: worker.held.size,
      load: loadOf(worker),
      max_concurrent: worker.maxConcurrent,
      is_draining: worker.draining,
      is_resting: worker.restUntil > nowMs,
      is_suspended: worker.suspended,
      connected_secs: session === undefined ? null : Math.floor((nowMs - session.connectedAt) / 1_000),
    };
  });
}

function statsOf(
  { core, budget, startedAt }: Relay,
  { totals, lastMinute }: Ended,
  ring: KeyRing,
  clock: Clock,
) {
  const keys = ring.keys();
  const wall = clock.wall();
  const active = keys.filter(
    ({ revokedAt, expiresAt }) => revokedAt === undefined && (expiresAt ?? Infinity) > wall,
  );
  return {
    version,
    uptime_secs: Math.floor((clock.now() - startedAt) / 1_000),
    workers_connected: core.registry.size,
    models: core.registry.models(),
    queue_depth: core.queueLength,
    requests_in_flight: core.requestCount - core.queueLength,
    bytes_held: budget.held,
    keys: { total: keys.length, active: active.length },
    /** Since the start. */
    requests: totals.view(),
    last_minute: lastMinute.view(clock.now()),
  };
}
