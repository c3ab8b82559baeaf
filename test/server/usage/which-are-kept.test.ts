import { expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import type { Client } from "../../../src/server/client.ts";
import { createAdminDesk } from "../../../src/server/admin/admin-desk.ts";
import { RequestRecord } from "../../../src/server/request-record.ts";
import { startUsage, type Usage } from "../../../src/server/usage/index.ts";
import { TempDir } from "../../commands/reading.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { textOf, turnsUntil } from "./rows.ts";

const ADA: Client = {
  id: "ada",
  key: { id: "ada", name: "ada" },
  models: undefined,
  priority: "normal",
  limits: {},
};

function sender(clock: ManualClock, usage: Usage): (count: number, client?: Client) => void {
  let sent = 0;
  return (count, client) => {
    for (let n = 0; n < count; n++) {
      const id = `r${sent++}`;
      const arrival = { id, clientId: id, method: "POST", path: "/v1/chat/completions" };
      const record = new RequestRecord(arrival, clock, usage.ended);
      record.client = client;
      record.settle("refused", client === undefined ? "invalid_api_key" : "rate_limit_exceeded");
      record.end();
    }
  };
}

test("keeps few of many requests that show no key, and all of those that do", async () => {
  using dir = new TempDir();
  const clock = new ManualClock();
  const store = new MemoryUsageStore();
  const usage = await startUsage({ store, dataDir: dir.path, keepMs: 3_600_000, clock, log: silentLog });
  const send = sender(clock, usage);
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

test("keeps none of the requests where none is to be kept, and shows them all the same", async () => {
  using dir = new TempDir();
  const clock = new ManualClock();
  const store = new MemoryUsageStore();
  const usage = await startUsage({ store, dataDir: dir.path, keepMs: 0, clock, log: silentLog });
  const send = sender(clock, usage);
  const desk = createAdminDesk(usage.routes);
  const feed = (await desk.answer(
    "GET",
    "/admin/requests",
    new URLSearchParams("follow=1"),
    undefined,
  )) as Response;
  send(10, ADA);
  const reader = feed.body!.getReader();
  let shown = "";
  while (!shown.includes("id: r9")) shown += textOf(await reader.read());
  await reader.cancel();
  send(10, ADA);
  clock.advance(10_000);
  await usage.close();
  expect(store.rows.size).toBe(0);
});
