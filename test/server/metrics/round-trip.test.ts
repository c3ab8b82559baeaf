import { describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import { PING_INTERVAL_MS } from "../../../src/protocol/limits.ts";
import { createRelayApp } from "../../../src/server/index.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { relayConfig } from "../../support/relays.ts";

function register(): { clock: ManualClock; pong: () => void; roundTripMs: () => number | undefined } {
  const clock = new ManualClock();
  const app = createRelayApp(relayConfig({}), { clock, log: silentLog });
  const session = app.worker(
    { provider: "local", address: "127.0.0.1", version: "v1", credential: "c" },
    { send: () => true, buffered: () => 0, close() {}, terminate() {} },
  );
  const say = (message: object) => session.receive(JSON.stringify(message));
  say({ type: "register", worker_name: "w", models: ["m"], max_concurrent: 1 });
  const [worker] = app.relay.sessions.values();
  return {
    clock,
    pong: () => say({ type: "pong", current_load: 0 }),
    roundTripMs: () => worker?.roundTripMs,
  };
}

describe("Round trip of a worker's heartbeat", () => {
  test("is the time from a ping to its pong", () => {
    const { clock, pong, roundTripMs } = register();
    clock.advance(PING_INTERVAL_MS);
    expect(roundTripMs()).toBeUndefined();
    clock.advance(40);
    pong();
    expect(roundTripMs()).toBe(40);
    clock.advance(PING_INTERVAL_MS - 40);
    clock.advance(7);
    pong();
    expect(roundTripMs()).toBe(7);
  });

  test("is counted from the ping that has waited longest when pongs are late", () => {
    const { clock, pong, roundTripMs } = register();
    clock.advance(2 * PING_INTERVAL_MS + 5);
    pong();
    expect(roundTripMs()).toBe(PING_INTERVAL_MS + 5);
    pong();
    expect(roundTripMs()).toBe(PING_INTERVAL_MS + 5);
  });
});
