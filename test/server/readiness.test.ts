import { expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { createRelayApp } from "../../src/server/index.ts";
import type { StoreHealth } from "../../src/server/store/store-health.ts";
import { relayConfig } from "../support/relays.ts";

test("/readyz tells of a database that does not serve, and sends requests here all the same", async () => {
  let health: StoreHealth = { ok: true, since: 0, reason: "", code: undefined };
  const app = createRelayApp(relayConfig({}), {
    clock: systemClock,
    log: silentLog,
    storeHealth: () => health,
  });
  const connection = { address: "127.0.0.1", allowSilence() {}, limitSilence() {}, upgrade: () => false };
  const ready = async () => (await app.request(new Request("http://relay.test/readyz"), connection))?.json();
  const warnings = ["no worker is connected"];
  expect(await ready()).toEqual({ ready: true, reasons: [], warnings });
  health = { ok: false, since: 1, reason: "its disk is full", code: "store_full" };
  expect(await ready()).toEqual({
    ready: true,
    reasons: [],
    warnings: ["the database does not serve: its disk is full", ...warnings],
  });
});
