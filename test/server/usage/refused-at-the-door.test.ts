import { expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import type { Client } from "../../../src/server/client.ts";
import { RequestRecord } from "../../../src/server/request-record.ts";
import { startUsage } from "../../../src/server/usage/index.ts";
import { TempDir } from "../../commands/reading.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { turnsUntil } from "./rows.ts";

const ADA: Client = {
  id: "ada",
  key: { id: "ada", name: "ada" },
  models: undefined,
  priority: "normal",
  limits: {},
};

test("keeps few of many requests that show no key, and all of those that do", async () => {
  using dir = new TempDir();
  const clock = new ManualClock();
  const store = new MemoryUsageStore();
  const usage = await startUsage({ store, dataDir: dir.path, keepMs: 3_600_000, clock, log: silentLog });
  let sent = 0;
  const send = (count: number, client?: Client): void => {
    for (let n = 0; n < count; n++) {
      const id = `r${sent++}`;
      const arrival = { id, clientId: id, method: "POST", path: "/v1/chat/completions" };
      const record = new RequestRecord(arrival, clock, usage.ended);
      record.client = client;
      record.settle("refused", client === undefined ? "invalid_api_key" : "rate_limit_exceeded");
      record.end();
    }
  };
  send(1_000);
  send(1_000, ADA);
  await turnsUntil(() => store.rows.size >= 1_000);
  clock.advance(500);
  await turnsUntil(() => store.rows.size >= 1_060);
  clock.advance(9_500);
  send(1_000);
  send(5, { ...ADA, key: undefined });
  await usage.close();
  const kept = [...store.rows.values()];
  const ofNobody = kept.filter(({ reason }) => reason === "invalid_api_key");
  expect([ofNobody.length, kept.length - ofNobody.length]).toEqual([60 + 10, 1_005]);
});
