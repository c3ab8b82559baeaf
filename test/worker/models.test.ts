import { describe, expect, test } from "bun:test";
import { silentLog, type Log } from "../../src/base/log.ts";
import { findBackend } from "../../src/worker/discover.ts";
import { watchModels, type Offer } from "../../src/worker/models.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import { Inbox } from "../support/inbox.ts";
import { ManualClock } from "../support/manual-clock.ts";

type Config = Parameters<typeof watchModels>[0]["config"];

function watchOf(config: Config, more: Partial<Parameters<typeof watchModels>[0]> = {}) {
  const offers = new Inbox<Offer>();
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (message) => void warnings.push(message) };
  const clock = new ManualClock();
  const watch = watchModels({
    config,
    clock,
    log,
    random: () => 0,
    changed: (offer) => offers.put(offer),
    ...more,
  });
  return { watch, offers, clock, warnings };
}

const names = (offer: Offer): string[] => [...offer.models.keys()];
const ALL = { all: true, names: [] };

describe("Models", () => {
  test("are those that the backend lists, looked at again after 30 s", async () => {
    await using fake = await startFakeBackend(["a"]);
    const { watch, offers, clock } = watchOf({ backendUrl: fake.url, models: ALL });
    await watch.refresh();
    expect(names(await offers.next())).toEqual(["a"]);
    fake.models = ["a", "b"];
    expect(clock.pending).toEqual([30_000]);
    clock.advance(30_000);
    expect(names(await offers.next())).toEqual(["a", "b"]);
    watch.stop();
  });

  test("are out of service while the backend is down, and back within seconds", async () => {
    const fake = await startFakeBackend(["a"]);
    const { watch, offers, clock, warnings } = watchOf({ backendUrl: fake.url, models: ALL });
    await watch.refresh();
    await offers.next();
    await fake.stop();
    await watch.refresh();
    expect((await offers.next()).models.size).toBe(0);
    await watch.refresh();
    expect([warnings.length, clock.pending]).toEqual([1, [2_000]]);
    await using again = await startFakeBackend(["a"], fake.port);
    clock.advance(2_000);
    expect(names(await offers.next())).toEqual(["a"]);
    expect(again.listed).toBe(1);
    watch.stop();
  });

  test("that are named are offered although the backend does not list them, which is said once", async () => {
    await using fake = await startFakeBackend(["a"]);
    const models = { all: false, names: [{ public: "gpt-4o", backend: "b" }] };
    const { watch, warnings } = watchOf({ backendUrl: fake.url, models });
    await watch.refresh();
    await watch.refresh();
    expect([names(watch.offer), warnings.filter((text) => text.includes('"b"')).length]).toEqual([
      ["gpt-4o"],
      1,
    ]);
    watch.stop();
  });

  test("share one look at the backend among all who ask at once", async () => {
    await using fake = await startFakeBackend(["a"]);
    const { watch } = watchOf({ backendUrl: fake.url, models: ALL });
    await Promise.all([watch.refresh(), watch.refresh(), watch.refresh()]);
    expect(fake.listed).toBe(1);
    watch.stop();
  });

  test("come from a backend found on this machine, and from another when that one has gone", async () => {
    const first = await startFakeBackend(["a"]);
    await using second = await startFakeBackend(["b"]);
    const candidates = [
      { kind: "one", url: first.url },
      { kind: "two", url: second.url },
    ];
    const { watch } = watchOf(
      { backendUrl: undefined, models: ALL },
      { find: () => findBackend(candidates) },
    );
    await watch.refresh();
    expect([watch.offer.backendUrl, names(watch.offer)]).toEqual([first.url, ["a"]]);
    await first.stop();
    await watch.refresh();
    expect([watch.offer.backendUrl, names(watch.offer)]).toEqual([second.url, ["b"]]);
    watch.stop();
  });
});

describe("Discovery", () => {
  test("prefers the first of those that answer, and takes no relay for a backend", async () => {
    await using fake = await startFakeBackend(["a"]);
    const relay = Bun.serve({
      port: 0,
      hostname: "127.0.0.1",
      fetch: (request) =>
        new URL(request.url).pathname === "/health"
          ? Response.json({ status: "ok", workers_connected: 1 })
          : Response.json({ object: "list", data: [{ id: "mine" }] }),
    });
    const found = await findBackend([
      { kind: "nothing", url: "http://127.0.0.1:1" },
      { kind: "relay", url: relay.url.origin },
      { kind: "fake", url: fake.url },
    ]);
    expect(found).toEqual({ kind: "fake", url: fake.url, models: ["a"] });
    await relay.stop(true);
  });
});
