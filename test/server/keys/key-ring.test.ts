import { afterEach, describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import { KeyRing, type KeySpec } from "../../../src/server/keys/key-ring.ts";
import { StoreError } from "../../../src/server/store/store-error.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryKeyStore } from "../../support/memory-key-store.ts";

const CACHE_TTL_MS = 900_000;

const spec = (name: string, more: Partial<KeySpec> = {}): KeySpec => ({
  name,
  models: undefined,
  priority: "normal",
  limits: {},
  expiresAt: undefined,
  ...more,
});

const open: KeyRing[] = [];
afterEach(async () => {
  for (const ring of open.splice(0)) await ring.close();
});

async function start(store = new MemoryKeyStore(), clock = new ManualClock()) {
  const ring = await KeyRing.open(store, { clock, log: silentLog, cacheTtlMs: CACHE_TTL_MS });
  open.push(ring);
  return { ring, store, clock };
}

/** Lets what was asked of the store be answered. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

async function pass(clock: ManualClock, ms: number): Promise<void> {
  for (let passed = 0; passed < ms; passed += 500) {
    clock.advance(Math.min(500, ms - passed));
    await settle();
  }
}

describe("Key ring", () => {
  test("finds the client of a key that it made, and of nothing like it", async () => {
    const { ring } = await start();
    const { record, secret } = await ring.createKey(
      spec("ada", { models: ["a", "b"], priority: "high", limits: { requestsPerMinute: 5 } }),
    );
    expect(secret).toMatch(/^mr_live_[0-9A-Za-z]{43}$/);
    expect(record.prefix).toBe(secret.slice(0, 16));
    expect(JSON.stringify(ring.keys())).not.toContain(secret.slice(16));
    expect(ring.find(secret)).toEqual({
      kind: "valid",
      client: {
        id: record.id,
        key: { id: record.id, name: "ada" },
        models: new Set(["a", "b"]),
        priority: "high",
        limits: { requestsPerMinute: 5 },
      },
    });
    const flipped = secret.slice(0, -1) + (secret.endsWith("x") ? "y" : "x");
    for (const wrong of ["", record.prefix, record.hash, flipped, `${secret}x`, secret.toLowerCase()]) {
      expect(ring.find(wrong)).toEqual({ kind: "unknown" });
    }
    // Those were compared with what is remembered of the right one, which goes on to be found by it.
    expect(ring.find(secret)).toMatchObject({ kind: "valid", client: { id: record.id } });
  });

  test("tells keys apart that begin alike", async () => {
    const { ring, store } = await start();
    const { record, secret } = await ring.createKey(spec("ada"));
    await store.insertKey({ ...record, id: crypto.randomUUID(), name: "twin", hash: "00".repeat(32) });
    const again = await start(store);
    expect(again.ring.keys().map(({ name }) => name)).toEqual(["ada", "twin"]);
    for (let look = 0; look < 2; look++) {
      expect(again.ring.find(secret)).toMatchObject({ client: { id: record.id } });
      expect(again.ring.find(`${record.prefix}${"x".repeat(35)}`)).toEqual({ kind: "unknown" });
    }
  });

  test("forgets what it remembers of a key with the list in which that was", async () => {
    const here = await start();
    const { record, secret } = await here.ring.createKey(spec("ada"));
    expect(here.ring.find(secret)).toMatchObject({ kind: "valid" });
    // As if the database had been put back to what it was before the key.
    const before = new MemoryKeyStore();
    here.store.listKeys = () => before.listKeys();
    here.store.revision = async () => 99;
    await pass(here.clock, 500);
    expect(here.ring.key(record.id)).toBeUndefined();
    expect(here.ring.find(secret)).toEqual({ kind: "unknown" });
  });

  test("knows after a restart what it made before, by the database's own secret", async () => {
    const first = await start();
    const { record, secret } = await first.ring.createKey(spec("ada"));
    const second = await start(first.store);
    expect(second.ring.find(secret)).toMatchObject({ kind: "valid", client: { id: record.id } });
  });

  test("refuses a key from the moment at which it was revoked, and one that has expired", async () => {
    const { ring, clock } = await start();
    const revoked = await ring.createKey(spec("revoked"));
    const short = await ring.createKey(spec("short", { expiresAt: clock.wall() + 1_000 }));
    await ring.revokeKey(revoked.record.id);
    expect(ring.find(revoked.secret)).toEqual({ kind: "revoked" });
    clock.advance(999);
    expect(ring.find(short.secret)).toMatchObject({ kind: "valid" });
    clock.advance(1);
    expect(ring.find(short.secret)).toEqual({ kind: "expired" });
    await ring.updateKey(short.record.id, { expiresAt: undefined });
    expect(ring.find(short.secret)).toMatchObject({ kind: "valid" });
  });

  test("gives a changed key's limits to its next request", async () => {
    const { ring } = await start();
    const { record, secret } = await ring.createKey(spec("ada"));
    await ring.updateKey(record.id, { name: "eve", models: ["m"], limits: { concurrency: 2 } });
    expect(ring.find(secret)).toMatchObject({
      client: { key: { name: "eve" }, models: new Set(["m"]), limits: { concurrency: 2 } },
    });
    expect(await ring.updateKey("absent", { name: "x" })).toBeUndefined();
    expect(await ring.revokeKey("absent")).toBeUndefined();
  });

  test("sees within half a second what another relay changed in the same database", async () => {
    const here = await start();
    const there = await start(here.store);
    const { record, secret } = await there.ring.createKey(spec("ada"));
    expect(here.ring.find(secret)).toEqual({ kind: "unknown" });
    await pass(here.clock, 500);
    expect(here.ring.find(secret)).toMatchObject({ kind: "valid" });
    await there.ring.revokeKey(record.id);
    await pass(here.clock, 500);
    expect(here.ring.find(secret)).toEqual({ kind: "revoked" });
  });

  test("does not forget its own change for a list that was read before it", async () => {
    const { ring, store, clock } = await start();
    const { record, secret } = await ring.createKey(spec("ada"));
    const slowness = Promise.withResolvers<void>();
    store.slowness = slowness.promise;
    await pass(clock, 500);
    await ring.revokeKey(record.id);
    store.slowness = undefined;
    slowness.resolve();
    await settle();
    expect(ring.find(secret)).toEqual({ kind: "revoked" });
    await pass(clock, 500);
    expect(ring.find(secret)).toEqual({ kind: "revoked" });
  });

  test("goes on with known keys for the set time while the database is gone, and knows no other ones", async () => {
    const { ring, store, clock } = await start();
    const { record, secret } = await ring.createKey(spec("ada"));
    const revoked = await ring.createKey(spec("revoked"));
    await ring.revokeKey(revoked.record.id);
    store.trouble = new Error("gone");
    await pass(clock, 3_000);
    expect(ring.find(secret)).toMatchObject({ kind: "valid" });
    expect(ring.find(revoked.secret)).toEqual({ kind: "revoked" });
    expect(ring.find("mr_live_of_somebody")).toEqual({ kind: "unavailable" });
    expect(ring.findWorkerSecret("mr_work_of_somebody")).toEqual({ kind: "unavailable" });
    await pass(clock, CACHE_TTL_MS - 3_000);
    expect(ring.find(secret)).toMatchObject({ kind: "valid" });
    await pass(clock, 1_000);
    expect(ring.find(secret)).toEqual({ kind: "unavailable" });
    store.trouble = undefined;
    await pass(clock, 500);
    expect(ring.find(secret)).toMatchObject({ kind: "valid", client: { id: record.id } });
    expect(ring.find("mr_live_of_somebody")).toEqual({ kind: "unknown" });
  });

  test("opens while the database is gone, and knows its keys as soon as it is back", async () => {
    const before = await start();
    const { record, secret } = await before.ring.createKey(spec("ada"));
    before.store.trouble = new Error("gone");
    const { ring, store, clock } = await start(before.store);
    expect(ring.find(secret)).toEqual({ kind: "unavailable" });
    expect(ring.find("mr_live_of_somebody")).toEqual({ kind: "unavailable" });
    store.trouble = undefined;
    await pass(clock, 500);
    expect(ring.find(secret)).toMatchObject({ kind: "valid", client: { id: record.id } });
    expect(ring.find("mr_live_of_somebody")).toEqual({ kind: "unknown" });
  });

  test("says once that the database is gone, and once that it is back", async () => {
    const lines: string[] = [];
    const log = {
      ...silentLog,
      warn: (line: string) => lines.push(`warn ${line.slice(0, 33)}`),
      info: (line: string) => lines.push(`info ${line.slice(0, 33)}`),
    };
    const store = new MemoryKeyStore();
    const clock = new ManualClock();
    open.push(await KeyRing.open(store, { clock, log, cacheTtlMs: CACHE_TTL_MS }));
    store.trouble = new Error("gone");
    await pass(clock, 5_000);
    store.trouble = undefined;
    await pass(clock, 5_000);
    expect(lines).toEqual([
      "warn The database cannot be reached: k",
      "info The database can be reached again",
    ]);
  });

  test("leaves it to the store to say so, where the store has", async () => {
    const lines: string[] = [];
    const note = (line: string) => void lines.push(line);
    const log = { ...silentLog, warn: note, info: note };
    const store = new MemoryKeyStore();
    const clock = new ManualClock();
    open.push(await KeyRing.open(store, { clock, log, cacheTtlMs: CACHE_TTL_MS }));
    store.trouble = new StoreError("store_unavailable", "It is gone");
    await pass(clock, 5_000);
    store.trouble = undefined;
    await pass(clock, 5_000);
    expect(lines).toEqual([]);
  });

  test("writes when keys were used for many requests together", async () => {
    const { ring, store, clock } = await start();
    const { record, secret } = await ring.createKey(spec("ada"));
    for (let n = 0; n < 100; n++) {
      clock.advance(10);
      ring.find(secret);
    }
    expect(store.touched).toEqual([]);
    const usedAt = clock.wall();
    expect(ring.key(record.id)?.lastUsedAt).toBe(usedAt);
    await pass(clock, 5_000);
    expect(store.touched).toEqual([new Map([[record.id, usedAt]])]);
    expect(ring.key(record.id)?.lastUsedAt).toBe(usedAt);
  });

  test("writes at its end, and again what could not be written, when keys were used", async () => {
    const { ring, store, clock } = await start();
    const { record, secret } = await ring.createKey(spec("ada"));
    ring.find(secret);
    const usedAt = clock.wall();
    store.trouble = new Error("gone");
    await pass(clock, 6_000);
    store.trouble = undefined;
    await ring.close();
    expect(store.touched).toEqual([new Map([[record.id, usedAt]])]);
  });

  test("tells of each change to the workers' secrets, whoever makes it", async () => {
    const here = await start();
    const there = await start(here.store);
    let told = 0;
    there.ring.workerSecretsChanged = () => told++;
    const { record, secret } = await here.ring.createWorkerSecret("box", ["m"]);
    expect(secret).toMatch(/^mr_work_[0-9A-Za-z]{43}$/);
    await pass(there.clock, 500);
    expect(there.ring.findWorkerSecret(secret)).toEqual({ kind: "valid", record });
    const before = told;
    let toldHere = 0;
    here.ring.workerSecretsChanged = () => toldHere++;
    await here.ring.revokeWorkerSecret(record.id);
    expect(toldHere).toBe(1);
    await pass(there.clock, 500);
    expect(told).toBe(before + 1);
    expect(there.ring.isWorkerSecretValid(record.id)).toBe(false);
    expect(there.ring.findWorkerSecret(secret)).toEqual({ kind: "unknown" });
    expect(here.ring.findWorkerSecret(secret)).toEqual({ kind: "unknown" });
    expect(await here.ring.revokeWorkerSecret("absent")).toBeUndefined();
  });

  test("takes no worker's secret for a key, and no key for a worker's secret", async () => {
    const { ring } = await start();
    const worker = await ring.createWorkerSecret("box", undefined);
    const key = await ring.createKey(spec("ada"));
    expect(ring.find(worker.secret)).toEqual({ kind: "unknown" });
    expect(ring.findWorkerSecret(key.secret)).toEqual({ kind: "unknown" });
  });
});
