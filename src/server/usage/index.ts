import { join } from "node:path";
import type { Clock } from "../../base/clock.ts";
import type { Log } from "../../base/log.ts";
import type { AdminRoute } from "../admin/admin-desk.ts";
import { Rate } from "../limits/rate.ts";
import type { RecordSink, RequestRecord } from "../request-record.ts";
import { Retention } from "../retention.ts";
import { RequestFeed } from "./request-feed.ts";
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

/** Of rows that wait for the database, in the data directory. */
export const SPOOL_FILE = "usage-spool.jsonl";

export interface UsageParts {
  store: UsageStore;
  dataDir: string;
  /** For how long a request is kept, in ms; 0 keeps none. */
  keepMs: number;
  clock: Clock;
  log: Log;
  random?: () => number;
}

/** The record that is kept of each request. */
export interface Usage {
  ended: RecordSink;
  routes: readonly AdminRoute[];
  backlog(): UsageBacklog;
  /** What an operator has to know of it now. */
  warnings(): string[];
  /** Writes what is there; the store may be closed after it. */
  close(): Promise<void>;
}

export async function startUsage(parts: UsageParts): Promise<Usage> {
  const { store, dataDir, keepMs, clock, log, random = Math.random } = parts;
  const spool = new UsageSpool(join(dataDir, SPOOL_FILE));
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
  await writer.start();
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
    async close() {
      retention.stop();
      await writer.close();
    },
  };
}
