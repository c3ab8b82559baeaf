import type { BodyReader } from "../body.ts";
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { KeyRing } from "../keys/key-ring.ts";
import { KnownSecret } from "../known-secret.ts";
import type { Relay } from "../relay.ts";
import type { RecordSink } from "../request-record.ts";
import { createAdminApi, type AdminApi } from "./admin-api.ts";
import { createAdminDesk, type AdminRoute } from "./admin-desk.ts";
import { keyRoutes } from "./key-routes.ts";
import { LastMinute } from "./last-minute.ts";
import { relayRoutes } from "./relay-routes.ts";
import { RequestTotals } from "./request-totals.ts";
import { workerSecretRoutes } from "./worker-secret-routes.ts";

export interface AdminOptions {
  token: string;
  bodies: BodyReader;
  relay: Relay;
  ring: KeyRing;
  /** What other parts of the relay let operators ask for. */
  routes: readonly AdminRoute[];
  clock: Clock;
  log: Log;
}

/** The operators' part of a relay. */
export interface Admin {
  request: AdminApi;
  /** Counts a request that has ended. */
  ended: RecordSink;
  /** Whether a value is the admin token, which never leaves the relay. */
  isToken(value: string): boolean;
}

export function createAdmin({ token, relay, bodies, ring, routes, clock, log }: AdminOptions): Admin {
  const known = new KnownSecret(token);
  const ended = { totals: new RequestTotals(), lastMinute: new LastMinute(relay.startedAt) };
  const desk = createAdminDesk([
    ...keyRoutes(ring, (keyId) => relay.endRequestsOf(keyId)),
    ...workerSecretRoutes(ring),
    ...relayRoutes(relay, ended, ring, clock),
    ...routes,
  ]);
  return {
    request: createAdminApi({ desk, token: known, bodies, budget: relay.budget, clock, log }),
    ended(record) {
      ended.totals.add(record);
      ended.lastMinute.add(record);
    },
    isToken: (value) => known.is(value),
  };
}
