import { systemClock } from "../base/clock.ts";
import type { Log } from "../base/log.ts";
import { KeyRing } from "../server/keys/key-ring.ts";
import type { UsedTokens } from "../server/limits/request-limits.ts";
import type { StoreHealth } from "../server/store/store-health.ts";
import { openStore, type Store } from "../server/store/store.ts";
import { startUsage, type Usage } from "../server/usage/index.ts";
import type { ServeConfig } from "./serve-options.ts";

/** What a relay keeps: its database, the keys in it, and what was used. */
export interface ServeState extends AsyncDisposable {
  store: Store;
  ring: KeyRing;
  storeHealth: () => StoreHealth;
  usedTokens: UsedTokens;
  usage: Usage;
}

/** @throws {StoreError} if waiting for the database will not help */
export async function openState(config: ServeConfig, log: Log): Promise<ServeState> {
  const { dataDir, databaseUrl: url, keyCacheTtlMs: cacheTtlMs } = config;
  const store = await openStore({ dataDir, url }, { clock: systemClock, log });
  const ring = await KeyRing.open(store, { clock: systemClock, log, cacheTtlMs });
  const usage = await startUsage({
    store,
    dataDir,
    keepMs: config.usageRetentionMs,
    clock: systemClock,
    log,
  });
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
    async [Symbol.asyncDispose]() {
      closing = true;
      await usage.close();
      await ring.close();
      await store.close();
    },
  };
}
