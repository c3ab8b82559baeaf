import { afterAll, describe, expect, test } from "bun:test";
import { SQL } from "bun";
import { systemClock } from "../../../src/base/clock.ts";
import { SCHEMA_VERSION } from "../../../src/server/store/migrations.ts";
import { openStore, type Store } from "../../../src/server/store/store.ts";
import type { StoreHealth } from "../../../src/server/store/store-health.ts";
import { startCuttingProxy } from "../../support/cutting-proxy.ts";
import { lacksPart } from "../../support/parts.ts";
import { expectFlowing, watchLoop } from "./loop-lag.ts";
import { errorOf, HealthWatch, key, sharedPostgres, stopPostgres, usage } from "./stores.ts";

/** Short, so that what hangs is given up soon. */
const TIMEOUT_MS = 1_000;

async function open(url: string, changed?: (health: StoreHealth) => void): Promise<Store> {
  return openStore(
    { dataDir: "/nowhere", url, timeoutMs: TIMEOUT_MS },
    { clock: systemClock, ...(changed && { changed }) },
  );
}

describe.skipIf(lacksPart("postgres"))("A store on a PostgreSQL server", () => {
  afterAll(stopPostgres);

  test("says who it is, and lets no statement run longer than a call", async () => {
    const url = await (await sharedPostgres()).createDatabase();
    await using store = await open(url);
    await store.revision();
    await using beside = new SQL(url);
    const [seen] = await beside`SELECT COUNT(*)::int AS connections FROM pg_stat_activity
      WHERE datname = current_database() AND application_name = 'modelrelay'`;
    expect(seen.connections).toBeGreaterThan(0);
    await beside.begin(async (tx) => {
      await tx`LOCK TABLE usage IN ACCESS EXCLUSIVE MODE`;
      const error = await errorOf(store.insertUsage([usage()]));
      expect(error.code).toBe("store_timeout");
      expect(error.message).toContain("it took too long over a statement");
      // What does not touch the table goes on.
      expect(await store.revision()).toBe(0);
    });
    await store.insertUsage([usage()]);
    expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 1 }]);
  });

  test("that is stopped: calls end in time, the event loop goes on, and all is well when it wakes", async () => {
    const server = await sharedPostgres();
    const watch = new HealthWatch();
    await using store = await open(await server.createDatabase(), watch.changed);
    const row = usage();
    const lagOf = watchLoop();
    let back: Promise<StoreHealth>;
    server.signal("SIGSTOP");
    try {
      const began = performance.now();
      const errors = await Promise.all([
        errorOf(store.insertUsage([row])),
        errorOf(store.insertKey(key())),
        errorOf(store.revision()),
      ]);
      expect(performance.now() - began).toBeLessThan(2 * TIMEOUT_MS);
      // The first that gives up ends the connections for the others.
      expect(errors.map(({ code }) => code)).toContain("store_timeout");
      expect(errors.filter(({ isOfDatabase }) => !isOfDatabase)).toEqual([]);
      expect(store.health().ok).toBe(false);
      // New connections hang just as well.
      expect((await errorOf(store.revision())).isOfDatabase).toBe(true);
      back = watch.back();
    } finally {
      server.signal("SIGCONT");
    }
    await back;
    const lag = lagOf();
    expectFlowing(lag);
    await store.insertUsage([row, usage()]);
    expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 2 }]);
  });

  test("that is killed and started again: calls fail at once, and then serve", async () => {
    const server = await sharedPostgres();
    const watch = new HealthWatch();
    await using store = await open(await server.createDatabase(), watch.changed);
    const record = key();
    await store.insertKey(record);
    const lost = watch.lost();
    await server.kill();
    const error = await errorOf(store.listKeys());
    expect([error.code, (await lost).code]).toEqual(["store_unavailable", "store_unavailable"]);
    expect(error.action).toContain("DATABASE_URL");
    const back = watch.back();
    await server.start();
    await back;
    expect(await store.listKeys()).toEqual([record]);
  });

  test("that comes back with the tables of a newer program: is not used any more", async () => {
    const server = await sharedPostgres();
    const url = await server.createDatabase();
    const watch = new HealthWatch();
    await using store = await open(url, watch.changed);
    {
      await using beside = new SQL(url);
      await beside`INSERT INTO schema_versions (version, applied_at) VALUES (${9}, ${0})`;
    }
    const refused = watch.next(({ code }) => code === "store_newer");
    await server.kill();
    await errorOf(store.listKeys());
    await server.start();
    await refused;
    expect((await errorOf(store.insertKey(key()))).code).toBe("store_newer");
  });

  test("that comes back without what it stored last: gets it again with the usage that needs it", async () => {
    const server = await sharedPostgres();
    const url = await server.createDatabase();
    await using store = await open(url);
    await store.insertUsage([usage({ model: "lost" })]);
    await server.kill();
    await server.start();
    {
      // As a standby does that had not heard of it yet when it took the other one's place.
      await using beside = new SQL(url);
      await beside`DELETE FROM requests`;
      await beside`DELETE FROM request_kinds`;
    }
    const row = usage({ model: "lost" });
    await store.insertUsage([row]);
    expect(await store.recentRequests({ limit: 9 })).toEqual([row]);
  });

  test("that is gone at the start: opens, and makes its tables when it comes", async () => {
    const server = await sharedPostgres();
    const url = await server.createDatabase();
    await server.kill();
    const watch = new HealthWatch();
    await using store = await open(url, watch.changed);
    expect([store.schemaVersion, store.health().ok]).toEqual([undefined, false]);
    const back = watch.back();
    await server.start();
    await back;
    expect([store.schemaVersion, await store.revision()]).toEqual([SCHEMA_VERSION, 0]);
  });

  test("that answers half a second late: calls take longer, and nothing else does", async () => {
    const url = new URL(await (await sharedPostgres()).createDatabase());
    await (await open(url.href)).close();
    await using proxy = await startCuttingProxy({ target: Number(url.port), down: { delayMs: 500 } });
    url.port = String(proxy.port);
    const lagOf = watchLoop();
    await using store = await openStore({ dataDir: "/nowhere", url: url.href }, { clock: systemClock });
    const began = performance.now();
    const rows = Array.from({ length: 50 }, () => usage());
    await Promise.all([store.insertUsage(rows), store.insertKey(key()), store.hashSecret()]);
    expect(performance.now() - began).toBeGreaterThan(500);
    expectFlowing(lagOf());
    expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 50 }]);
    expect(store.health().ok).toBe(true);
  });

  test("behind a network that goes silent: calls end in time, and new connections are made", async () => {
    const url = new URL(await (await sharedPostgres()).createDatabase());
    await using proxy = await startCuttingProxy({ target: Number(url.port) });
    url.port = String(proxy.port);
    const watch = new HealthWatch();
    await using store = await open(url.href, watch.changed);
    await store.insertUsage([usage()]);
    proxy.silence();
    expect((await errorOf(store.insertUsage([usage()]))).code).toBe("store_timeout");
    await watch.back();
    await store.insertUsage([usage()]);
    expect(store.health().ok).toBe(true);
  });

  test("is told of without its password", async () => {
    const url = new URL(await (await sharedPostgres()).createDatabase());
    url.username = "nobody-we-know";
    url.password = "hunter2";
    url.search = "?application_name=hunter2";
    const error = await errorOf(open(url.href));
    expect(error.code).toBe("store_refused");
    expect(error.message).toContain(`"postgres://${url.host}${url.pathname}"`);
    expect(JSON.stringify([error.message, error.action])).not.toContain("hunter2");
  });

  test("refuses a database that is not there, and one with tables that are not ours", async () => {
    const url = await (await sharedPostgres()).createDatabase();
    const missing = await errorOf(open(`${url}_missing`));
    expect([missing.code, missing.action]).toEqual(["store_refused", expect.stringContaining("createdb")]);
    await using beside = new SQL(url);
    await beside`CREATE TABLE keys (id INTEGER)`;
    const foreign = await errorOf(open(url));
    expect([foreign.code, foreign.action]).toEqual([
      "store_refused",
      "Give modelrelay a database of its own",
    ]);
    // Nothing was made beside them.
    const tables = await beside`SELECT tablename FROM pg_tables WHERE schemaname = 'public'`;
    expect([...tables]).toEqual([{ tablename: "keys" }]);
  });

  test("leaves backups to pg_dump, and says how", async () => {
    await using store = await open(await (await sharedPostgres()).createDatabase());
    const error = await errorOf(store.backup("/tmp/a backup"));
    expect([error.code, error.action]).toEqual([
      "store_unsupported",
      `Write: pg_dump --format=custom --file='/tmp/a backup' "$DATABASE_URL"`,
    ]);
  });

  test("refuses an address of another kind", async () => {
    const error = await errorOf(open("mysql://user:hunter2@db/x"));
    expect([error.code, error.message.includes("hunter2")]).toEqual(["store_refused", false]);
  });
});
