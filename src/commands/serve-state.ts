import { systemClock } from "../base/clock.ts";
import { formatBytes } from "../base/bytes.ts";
import { formatDuration } from "../base/duration.ts";
import type { Log } from "../base/log.ts";
import type { AdminRoute } from "../server/admin/admin-desk.ts";
import { keepBodies, removeOldBodies, type Bodies } from "../server/bodies/index.ts";
import { requestRoute } from "../server/bodies/request-route.ts";
import { KeyRing } from "../server/keys/key-ring.ts";
import type { UsedTokens } from "../server/limits/request-limits.ts";
import type { StoreHealth } from "../server/store/store-health.ts";
import { openStore, type Store } from "../server/store/store.ts";
import { startUsage, type HeirsUsage } from "../server/usage/index.ts";
import type { ServeConfig } from "./serve-options.ts";

/** What a relay keeps: its database, the keys in it, and what was used. */
export interface ServeState extends AsyncDisposable {
  store: Store;
  ring: KeyRing;
  storeHealth: () => StoreHealth;
  usedTokens: UsedTokens;
  usage: HeirsUsage;
  /** Absent where prompts and answers are not to be kept. */
  bodies: Bodies | undefined;
  adminRoutes: readonly AdminRoute[];
}

/**
 * @param generation how many processes took the place of another before this one did
 * @throws {StoreError} if waiting for the database will not help
 */
export async function openState(config: ServeConfig, log: Log, generation: number): Promise<ServeState> {
  const { dataDir, databaseUrl: url, keyCacheTtlMs: cacheTtlMs } = config;
  const store = await openStore({ dataDir, url }, { clock: systemClock, log });
  const ring = await KeyRing.open(store, { clock: systemClock, log, cacheTtlMs });
  const usage = await startUsage({
    store,
    dataDir,
    keepMs: config.usageRetentionMs,
    clock: systemClock,
    log,
    generation,
  });
  const bodies = config.logBodies ? startBodies(config, store, log) : undefined;
  const { logBodiesRetentionMs: keepMs } = config;
  const bodyRetention = removeOldBodies({ store, keepMs, clock: systemClock, log });
  let closing = false;
  return {
    store,
    ring,
    storeHealth: () => store.health(),
    usedTokens: (since) =>
      store.tokensByKey(since).catch((error: unknown) => {
        if (closing) return new Map();
        throw error;
      }),
    usage,
    bodies,
    adminRoutes: [requestRoute(store)],
    async [Symbol.asyncDispose]() {
      closing = true;
      bodyRetention.stop();
      await Promise.all([usage.close(), bodies?.close()]);
      await ring.close();
      await store.close();
    },
  };
}

function startBodies(config: ServeConfig, store: Store, log: Log): Bodies {
  const { logBodiesLimit: limit, logBodiesRetentionMs: keptMs } = config;
  log.warn("Prompts and answers are kept, for whoever has the admin token or can read the database", {
    database: store.location,
    for: formatDuration(keptMs),
    limit: formatBytes(limit),
  });
  return keepBodies({ store, limit, clock: systemClock, log });
}
