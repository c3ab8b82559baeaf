import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { AdminRoute } from "../admin/admin-desk.ts";
import { Rate } from "../limits/rate.ts";
import type { RecordSink, RequestRecord } from "../request-record.ts";
import { Retention } from "../retention.ts";
import { RequestFeed } from "./request-feed.ts";
import { leftSpools, passSpool, spoolFile } from "./spool-files.ts";
import { usageRoutes } from "./usage-routes.ts";
import { usageRow } from "./usage-row.ts";
import { UsageSpool } from "./usage-spool.ts";
import type { UsageStore } from "./usage-store.ts";
import { UsageWriter, type UsageBacklog } from "./usage-writer.ts";

/** Rows that are removed at once. */
const PAGE_ROWS = 500;

/**
 * Requests of nobody that are kept in a minute, and at once: those refused for want of a key, which anybody
 * can send until the disk is full. Metrics count them all.
 */
const NOBODYS_PER_MINUTE = 60;

export { SPOOL_FILE } from "./spool-files.ts";

export interface UsageParts {
  store: UsageStore;
  dataDir: string;
  /** For how long a request is kept, in ms; 0 keeps none. */
  keepMs: number;
  clock: Clock;
  log: Log;
  random?: () => number;
  /** How many processes took the place of another before this one did; 0 for one that took nobody's. */
  generation?: number;
}

/** The record that is kept of each request. */
export interface Usage {
  ended: RecordSink;
  routes: readonly AdminRoute[];
  backlog(): UsageBacklog;
  /** What an operator has to know of it now. */
  warnings(): string[];
  /** Open requests of those who look on, which no relay waits for. */
  onlookers?(): number;
  /** Writes what is there; the store may be closed after it. */
  close(): Promise<void>;
}

/** The same of a process that may have taken another's place. */
export interface HeirsUsage extends Usage {
  /** Takes over what the process before this one could not store; to be called when that has ended. */
  inherit(): Promise<void>;
}

export async function startUsage(parts: UsageParts): Promise<HeirsUsage> {
  const { store, dataDir, keepMs, clock, log, random = Math.random, generation = 0 } = parts;
  const spool = new UsageSpool(spoolFile(dataDir, generation));
  const writer = new UsageWriter({ store, spool, clock, log, random });
  const removePage = async (before: number) => {
    const removed = await store.removeUsage(before, PAGE_ROWS);
    return { removed, more: removed === PAGE_ROWS };
  };
  const retention = new Retention({ what: "usage", removePage, keepMs, clock, log });
  const feed = new RequestFeed(clock);
  const nobodys = new Rate(NOBODYS_PER_MINUTE);
  const isKept = ({ client }: RequestRecord): boolean => {
    if (keepMs === 0) return false;
    if (client !== undefined) return true;
    const now = clock.now();
    if (nobodys.waitFor(1, now) > 0) return false;
    nobodys.take(1, now);
    return true;
  };
  const take = (path: string) => passSpool(path, (left) => writer.adopt(left), log);
  await writer.start();
  // Where nobody went before, nobody writes to these any more.
  if (generation === 0) for (const path of leftSpools(dataDir)) await take(path);
  return {
    ended(record) {
      const kept = isKept(record);
      if (!kept && feed.followers === 0) return;
      const row = usageRow(record);
      if (kept) writer.add(row);
      feed.add(row);
    },
    routes: usageRoutes({ store, feed, clock }),
    backlog: () => writer.backlog(),
    warnings: () => writer.warnings(),
    onlookers: () => feed.followers,
    inherit: async () => {
      if (generation > 0) await take(spoolFile(dataDir, generation - 1));
    },
    async close() {
      retention.stop();
      await writer.close();
    },
  };
}
