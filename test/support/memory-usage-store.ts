import type {
  RequestFilter,
  UsageGroup,
  UsageRow,
  UsageStore,
  UsageSum,
} from "../../src/server/usage/usage-store.ts";

const GROUP: Record<UsageGroup, (row: UsageRow) => string> = {
  key: (row) => row.keyName ?? "",
  model: (row) => row.model,
  worker: (row) => row.worker ?? "",
  day: (row) => new Date(row.at).toISOString().slice(0, 10),
};

/** Usage in memory, which can be made to fail. */
export class MemoryUsageStore implements UsageStore {
  readonly rows = new Map<string, UsageRow>();
  /** Sizes of the batches that came, taken or not. */
  readonly batches: number[] = [];
  /** Called before each batch is taken; what it throws or waits for, the caller gets. */
  before: (rows: readonly UsageRow[]) => void | Promise<void> = () => {};
  /** Called after each batch that was taken. */
  after: () => void = () => {};

  async insertUsage(rows: readonly UsageRow[]): Promise<void> {
    this.batches.push(rows.length);
    await this.before(rows);
    for (const row of rows) if (!this.rows.has(row.id)) this.rows.set(row.id, row);
    this.after();
  }

  async sumUsage(by: UsageGroup, since: number, until = Number.POSITIVE_INFINITY): Promise<UsageSum[]> {
    const sums = new Map<string, UsageSum>();
    for (const row of this.rows.values()) {
      if (row.at < since || row.at >= until) continue;
      const group = GROUP[by](row);
      const sum = sums.get(group) ?? {
        group,
        requests: 0,
        failed: 0,
        promptTokens: 0,
        completionTokens: 0,
        cachedTokens: 0,
        bytesIn: 0,
        bytesOut: 0,
      };
      sum.requests++;
      if (row.outcome === "failed") sum.failed++;
      sum.promptTokens += row.promptTokens;
      sum.completionTokens += row.completionTokens;
      sum.cachedTokens += row.cachedTokens;
      sum.bytesIn += row.bytesIn;
      sum.bytesOut += row.bytesOut;
      sums.set(group, sum);
    }
    return [...sums.values()];
  }

  async recentRequests(filter: RequestFilter): Promise<UsageRow[]> {
    const { keyId, model, worker, outcome, before = Number.POSITIVE_INFINITY, limit } = filter;
    return [...this.rows.values()]
      .filter((row) => row.at < before)
      .filter((row) => keyId === undefined || row.keyId === keyId)
      .filter((row) => model === undefined || row.model === model)
      .filter((row) => worker === undefined || row.worker === worker)
      .filter((row) => outcome === undefined || row.outcome === outcome)
      .sort((a, b) => b.at - a.at)
      .slice(0, limit);
  }

  async findRequest(id: string): Promise<UsageRow | undefined> {
    return this.rows.get(id);
  }

  async tokensByKey(since: number): Promise<Map<string, number>> {
    const tokens = new Map<string, number>();
    for (const { at, keyId, promptTokens, completionTokens } of this.rows.values()) {
      if (keyId !== undefined && at >= since)
        tokens.set(keyId, (tokens.get(keyId) ?? 0) + promptTokens + completionTokens);
    }
    return tokens;
  }

  async removeUsage(before: number, limit: number): Promise<number> {
    const old = [...this.rows.values()].filter((row) => row.at < before).slice(0, limit);
    for (const { id } of old) this.rows.delete(id);
    return old.length;
  }
}
