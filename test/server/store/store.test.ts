import { afterAll, describe, expect, test } from "bun:test";
import { SCHEMA_VERSION } from "../../../src/server/store/migrations.ts";
import type { UsageRow } from "../../../src/server/usage/usage-store.ts";
import { beside, DATABASE_KINDS, errorOf, key, usage, workerSecret } from "./stores.ts";

const DAY_MS = 86_400_000;
/** Midnight of 2026-09-21, UTC. */
const MIDNIGHT = 1_789_948_800_000;

for (const kind of DATABASE_KINDS) {
  describe.skipIf(kind.skip)(`A store in ${kind.name}`, () => {
    afterAll(() => kind.stop());

    test("is empty, at the version that the program knows, and well", async () => {
      await using database = await kind.create();
      const store = await database.open();
      expect(store.schemaVersion).toBe(SCHEMA_VERSION);
      expect(store.health()).toMatchObject({ ok: true, reason: "", code: undefined });
      expect([
        await store.listKeys(),
        await store.listWorkerSecrets(),
        await store.revision(),
        await store.sumUsage("model", 0),
        await store.recentRequests({ limit: 10 }),
        await store.tokensByKey(0),
      ]).toEqual([[], [], 0, [], [], new Map()]);
    });

    test("gives keys back as they were, in the order in which they were made", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const plain = key({ createdAt: 2_000 });
      const full = key({
        name: "Zoë's – ключ 🔑 '; DROP TABLE keys; --",
        models: ["llama", "qwen,3", ""],
        priority: "high",
        limits: {
          requestsPerMinute: 1,
          tokensPerMinute: 2,
          concurrency: 3,
          budget: { tokens: 4, period: "day" },
        },
        createdAt: 1_000,
        expiresAt: Number.MAX_SAFE_INTEGER,
        revokedAt: 1,
        lastUsedAt: 4_102_444_800_123,
      });
      await store.insertKey(plain);
      await store.insertKey(full);
      expect(await store.listKeys()).toEqual([plain, full]);
      await store.close();
      expect(await (await database.open()).listKeys()).toEqual([plain, full]);
    });

    test("lists more keys than one message holds", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const keys = Array.from({ length: 401 }, () => key());
      await Promise.all(keys.map((record) => store.insertKey(record)));
      const names = (await store.listKeys()).map(({ name }) => name);
      expect(names.toSorted()).toEqual(keys.map(({ name }) => name).toSorted());
    });

    test("changes of a key what it is told, and clears what is there and undefined", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const record = key({ models: ["a"], expiresAt: 5, limits: { concurrency: 2 } });
      const other = key();
      await store.insertKey(record);
      await store.insertKey(other);
      const changed = { ...record, name: "renamed", models: undefined, priority: "low" as const };
      expect(
        await store.updateKey(record.id, { name: "renamed", models: undefined, priority: "low" }),
      ).toEqual(changed);
      expect(await store.updateKey(record.id, {})).toEqual(changed);
      expect(await store.updateKey(record.id, { limits: {}, expiresAt: undefined })).toEqual({
        ...changed,
        limits: {},
        expiresAt: undefined,
      });
      expect(await store.updateKey("unknown", { name: "x" })).toBeUndefined();
      expect((await store.listKeys())[1]).toEqual(other);
    });

    test("revokes a key once: the first time stays", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const record = key();
      await store.insertKey(record);
      expect(await store.revokeKey(record.id, 7)).toEqual({ ...record, revokedAt: 7 });
      expect(await store.revokeKey(record.id, 8)).toEqual({ ...record, revokedAt: 7 });
      expect(await store.revokeKey("unknown", 8)).toBeUndefined();
    });

    test("notes when keys were used, never an older time", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const [first, second, third] = [key(), key({ lastUsedAt: 50 }), key()];
      for (const record of [first, second, third]) await store.insertKey(record);
      const before = await store.revision();
      await store.touchKeys(
        new Map([
          [first.id, 10],
          [second.id, 40],
          ["unknown", 3],
        ]),
      );
      await store.touchKeys(new Map());
      expect((await store.listKeys()).map(({ lastUsedAt }) => lastUsedAt)).toEqual([10, 50, undefined]);
      // Those who keep keys in memory need not read them again for that.
      expect(await store.revision()).toBe(before);
    });

    test("refuses a key or secret that is there already, and changes nothing", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const record = key();
      const secret = workerSecret();
      await store.insertKey(record);
      await store.insertWorkerSecret(secret);
      const revision = await store.revision();
      for (const insert of [
        () => store.insertKey(record),
        () => store.insertKey(key({ hash: record.hash })),
        () => store.insertWorkerSecret({ ...secret, id: "another" }),
      ]) {
        expect(await errorOf(insert())).toMatchObject({ name: "StoreError", code: "store_conflict" });
      }
      expect([await store.revision(), await store.listKeys()]).toEqual([revision, [record]]);
      expect(store.health().ok).toBe(true);
    });

    test("keeps calls apart that come at once: one that fails takes nothing of the others with it", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const taken = key();
      await store.insertKey(taken);
      const keys = Array.from({ length: 40 }, () => key());
      const calls = keys.flatMap((record) => [
        store.insertKey(record),
        store.insertKey(key({ hash: taken.hash })),
        store.revision(),
      ]);
      const outcomes = await Promise.allSettled(calls);
      expect(outcomes.filter(({ status }) => status === "rejected")).toHaveLength(40);
      expect([await store.revision(), (await store.listKeys()).length]).toEqual([41, 41]);
    });

    test("keeps workers' secrets, and revokes one once", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const [all, some] = [workerSecret(), workerSecret({ models: ["llama", "phi"] })];
      await store.insertWorkerSecret(all);
      await store.insertWorkerSecret(some);
      expect(await store.listWorkerSecrets()).toEqual([all, some]);
      expect(await store.revokeWorkerSecret(some.id, 7)).toEqual({ ...some, revokedAt: 7 });
      expect(await store.revokeWorkerSecret(some.id, 9)).toEqual({ ...some, revokedAt: 7 });
      expect(await store.revokeWorkerSecret("unknown", 9)).toBeUndefined();
      expect(await store.listWorkerSecrets()).toEqual([all, { ...some, revokedAt: 7 }]);
    });

    test("counts each change of a key or secret, whoever makes it", async () => {
      await using database = await kind.create();
      const [ours, theirs] = [await database.open(), await database.open()];
      const [record, secret] = [key(), workerSecret()];
      const changes = [
        () => theirs.insertKey(record),
        () => ours.updateKey(record.id, { name: "x" }),
        () => theirs.revokeKey(record.id, 1),
        () => theirs.insertWorkerSecret(secret),
        () => ours.revokeWorkerSecret(secret.id, 1),
      ];
      for (const [index, change] of changes.entries()) {
        await change();
        expect([await ours.revision(), await theirs.revision()]).toEqual([index + 1, index + 1]);
      }
    });

    test("makes one secret for hashes, the same for all who ask at once", async () => {
      await using database = await kind.create();
      const stores = await Promise.all([database.open(), database.open(), database.open()]);
      const secrets = await Promise.all(stores.map((store) => store.hashSecret()));
      expect(secrets[0]).toHaveLength(32);
      expect(secrets).toEqual([secrets[0]!, secrets[0]!, secrets[0]!]);
      await using another = await kind.create();
      expect(await (await another.open()).hashSecret()).not.toEqual(secrets[0]!);
    });

    test("gives usage back as it was, the newest first, in whole milliseconds", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const plain = usage({ at: 1_000 });
      const full = usage({
        at: 4_102_444_800_123,
        keyId: "a-key",
        keyName: "Zoë",
        servedModel: "llama-3",
        worker: "gpu",
        status: 502,
        outcome: "failed",
        reason: "backend_unreachable",
        queueMs: 1.4,
        firstByteMs: 20.6,
        totalMs: 99.5,
        cachedTokens: 3,
        estimated: true,
        bytesIn: Number.MAX_SAFE_INTEGER,
        bytesOut: 0,
      });
      await store.insertUsage([plain, full]);
      expect(await store.recentRequests({ limit: 10 })).toEqual([
        { ...full, queueMs: 1, firstByteMs: 21, totalMs: 100 },
        plain,
      ]);
    });

    test("counts a row once, however often and with what else it is written", async () => {
      await using database = await kind.create();
      const [store, other] = [await database.open(), await database.open()];
      const rows = Array.from({ length: 1_203 }, (_, index) => usage({ at: index }));
      await Promise.all([store.insertUsage(rows), other.insertUsage(rows.toReversed())]);
      await store.insertUsage([...rows.slice(0, 3).map((row) => ({ ...row, promptTokens: 999 })), usage()]);
      await store.insertUsage([]);
      expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 1_204, promptTokens: 12_040 }]);
    });

    test("keeps apart what differs in one thing alone", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const one = { keyId: "k", keyName: "ada", servedModel: "llama-q4", worker: "gpu" };
      const differences: Partial<UsageRow>[] = [
        { keyId: "l" },
        { keyName: "eve" },
        { model: "phi" },
        { servedModel: undefined },
        { worker: undefined },
        { path: "/v1/completions" },
        { status: 201 },
        { outcome: "cancelled" },
        { reason: "client_left" },
        { estimated: true },
      ];
      const rows = differences.flatMap((difference, index) => [
        usage({ ...one, at: 2 * index }),
        usage({ ...one, ...difference, at: 2 * index + 1 }),
      ]);
      await store.insertUsage(rows);
      expect(await store.recentRequests({ limit: 100 })).toEqual(rows.toReversed());
    });

    test("finds the requests for a model whatever a client called it", async () => {
      await using database = await kind.create();
      const store = await database.open();
      for (const model of ["nul\0", "half \ud83d", "' OR 1=1 --", "100%", "\u001b[31m"]) {
        const row = usage({ model });
        await store.insertUsage([row]);
        const found = await store.recentRequests({ limit: 10, model });
        expect(found.map(({ id }) => id)).toEqual([row.id]);
      }
    });

    test("stores a batch whatever a client calls its model", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const names = [
        "nul\0",
        "nul\ufffd",
        "half \ud83d",
        "\ude00 other half",
        '"\\u0000\\',
        "\u001b[31m",
        "",
        "模型",
      ];
      await store.insertUsage(names.map((model, at) => usage({ model, at })));
      const stored = await store.recentRequests({ limit: 10 });
      expect(stored.map(({ model }) => model).toReversed()).toEqual([
        "nul\ufffd",
        "nul\ufffd",
        "half \ufffd",
        "\ufffd other half",
        '"\\u0000\\',
        "\u001b[31m",
        "",
        "模型",
      ]);
    });

    test("stores texts as long as they may be, in which nothing repeats", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const text = (length: number) =>
        String.fromCharCode(
          ...crypto.getRandomValues(new Uint16Array(length)).map((code) => 0x4e00 + (code % 20_000)),
        );
      const row = usage({ model: text(256), servedModel: text(256), path: text(512), worker: text(256) });
      await store.insertUsage([row]);
      expect(await store.findRequest(row.id)).toEqual(row);
    });

    test("stores a batch although a number in it was never measured", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertUsage([
        usage({ at: 1, totalMs: Number.NaN, queueMs: Number.NaN }),
        usage({ at: 2, promptTokens: Number.POSITIVE_INFINITY }),
      ]);
      const stored = await store.recentRequests({ limit: 10 });
      expect(stored.map(({ totalMs, queueMs, promptTokens }) => [totalMs, queueMs, promptTokens])).toEqual([
        [12, undefined, 0],
        [0, undefined, 10],
      ]);
    });

    test("finds requests by each of their marks, and page by page", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertUsage([
        usage({ at: 1, keyId: "k1", model: "a" }),
        usage({ at: 2, keyId: "k2", model: "a", worker: "w1" }),
        usage({ at: 3, keyId: "k1", model: "b", worker: "w1", outcome: "failed" }),
        usage({ at: 4, model: "b" }),
      ]);
      const times = async (filter: object) =>
        (await store.recentRequests({ limit: 10, ...filter })).map(({ at }) => at);
      expect(await times({})).toEqual([4, 3, 2, 1]);
      expect(await times({ keyId: "k1" })).toEqual([3, 1]);
      expect(await times({ model: "a" })).toEqual([2, 1]);
      expect(await times({ worker: "w1" })).toEqual([3, 2]);
      expect(await times({ outcome: "failed" })).toEqual([3]);
      expect(await times({ keyId: "k1", model: "a", outcome: "complete" })).toEqual([1]);
      expect(await times({ limit: 2 })).toEqual([4, 3]);
      expect(await times({ limit: 2, before: 3 })).toEqual([2, 1]);
    });

    test("gives no more requests at once than can be taken over in no time", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertUsage(Array.from({ length: 1_001 }, (_, at) => usage({ at })));
      const times = (await store.recentRequests({ limit: 5_000 })).map(({ at }) => at);
      expect([times.length, times[0], times.at(-1)]).toEqual([1_000, 1_000, 1]);
    });

    test("sums by key under the name that the key has now, the most used first", async () => {
      await using database = await kind.create();
      const store = await database.open();
      const renamed = key({ name: "before" });
      await store.insertKey(renamed);
      await store.updateKey(renamed.id, { name: "after" });
      await store.insertUsage([
        usage({ keyId: renamed.id, keyName: "before", outcome: "failed", cachedTokens: 4 }),
        usage({ keyId: renamed.id, keyName: "after" }),
        usage({ keyId: "gone", keyName: "of a removed key", promptTokens: 100 }),
        usage({ promptTokens: 0, completionTokens: 0, outcome: "refused" }),
      ]);
      const rest = { cachedTokens: 0, failed: 0, requests: 1, bytesIn: 100, bytesOut: 1_000 };
      expect(await store.sumUsage("key", 0)).toEqual([
        { ...rest, group: "of a removed key", promptTokens: 100, completionTokens: 5 },
        {
          group: "after",
          requests: 2,
          failed: 1,
          promptTokens: 20,
          completionTokens: 10,
          cachedTokens: 4,
          bytesIn: 200,
          bytesOut: 2_000,
        },
        { ...rest, group: "", promptTokens: 0, completionTokens: 0 },
      ]);
    });

    test("sums by model, worker and day, within a time that begins with it and ends before it", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertUsage([
        usage({ at: MIDNIGHT - 1, model: "a", worker: "w1" }),
        usage({ at: MIDNIGHT, model: "b", worker: "w1" }),
        usage({ at: MIDNIGHT + DAY_MS - 1, model: "a", worker: "w2", promptTokens: 99 }),
        usage({ at: MIDNIGHT + DAY_MS, model: "c" }),
      ]);
      const sums = async (...args: Parameters<typeof store.sumUsage>) =>
        (await store.sumUsage(...args)).map(({ group, requests }) => `${group}=${requests}`);
      expect(await sums("day", 0)).toEqual(["2026-09-20=1", "2026-09-21=2", "2026-09-22=1"]);
      expect(await sums("day", MIDNIGHT, MIDNIGHT + DAY_MS)).toEqual(["2026-09-21=2"]);
      expect(await sums("model", 0)).toEqual(["a=2", "b=1", "c=1"]);
      expect(await sums("worker", MIDNIGHT)).toEqual(["w2=1", "=1", "w1=1"]);
      expect(await sums("model", MIDNIGHT + 1, MIDNIGHT + 2)).toEqual([]);
    });

    test("adds up the tokens of each key", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertUsage([
        usage({ at: 10, keyId: "a" }),
        usage({ at: 20, keyId: "a", promptTokens: 1_000 }),
        usage({ at: 20, keyId: "b" }),
        usage({ at: 20 }),
      ]);
      expect(await store.tokensByKey(20)).toEqual(
        new Map([
          ["a", 1_005],
          ["b", 15],
        ]),
      );
    });

    test("removes old usage in pages, the oldest first", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertUsage(Array.from({ length: 10 }, (_, at) => usage({ at })));
      expect(await store.removeUsage(7, 5)).toBe(5);
      expect((await store.recentRequests({ limit: 20 })).map(({ at }) => at)).toEqual([9, 8, 7, 6, 5]);
      expect([await store.removeUsage(7, 5), await store.removeUsage(7, 5)]).toEqual([2, 0]);
      expect((await store.recentRequests({ limit: 20 })).map(({ at }) => at)).toEqual([9, 8, 7]);
    });

    test("removes what requests had in common when none of them is left, and it was not used for days", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await using sql = beside(database.options);
      const kinds = async () => {
        const rows: { model: string }[] = await sql`SELECT model FROM request_kinds ORDER BY model`;
        return rows.map(({ model }) => model);
      };
      const today = Math.floor(Date.now() / DAY_MS);
      await store.insertUsage(
        ["a", "b", "c"].map((model, at) => usage({ model, at: (today - 9 + at) * DAY_MS })),
      );
      for (const [model, day] of [
        ["a", 9],
        ["b", 8],
        ["c", 1],
      ] as const)
        await sql`UPDATE request_kinds SET used_day = ${today - day} WHERE model = ${model}`;
      await store.insertUsage([usage({ model: "d", at: today * DAY_MS })]);
      await store.removeUsage((today - 8) * DAY_MS, 1);
      expect(await kinds()).toEqual(["a", "b", "c", "d"]);
      await store.removeUsage((today - 7) * DAY_MS, 100);
      expect(await kinds()).toEqual(["b", "c", "d"]);
      // What is known to be in use is never removed, whatever is said of time.
      await store.removeUsage((today + 9) * DAY_MS, 100);
      expect(await kinds()).toEqual(["c", "d"]);
      const again = ["c", "d", "e"].map((model) => usage({ model, at: Date.now() }));
      await store.insertUsage(again);
      expect((await store.recentRequests({ limit: 9 })).map(({ model }) => model).toSorted()).toEqual([
        "c",
        "d",
        "e",
      ]);
    });

    test("keeps what requests have in common that came before the clock was set back", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await using sql = beside(database.options);
      const today = Math.floor(Date.now() / DAY_MS);
      const row = usage({ model: "early", at: (today + 5) * DAY_MS });
      await store.insertUsage([row]);
      await store.insertUsage([usage({ model: "late" })]);
      await sql`UPDATE request_kinds SET used_day = ${today + 9} WHERE model = 'late'`;
      await store.removeUsage((today + 4) * DAY_MS, 100);
      expect(await store.recentRequests({ limit: 9 })).toEqual([row]);
    });

    test("names a row that holds what the program never writes", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertKey(key({ id: "odd", priority: "urgent" as "high" }));
      expect(await errorOf(store.listKeys())).toMatchObject({
        code: "store_corrupt",
        message: expect.stringContaining('column "priority" of the row with id "odd" in table "keys"'),
      });
    });

    test("says what it sees when it is checked, while it is in use", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await store.insertKey(key());
      await store.insertUsage([usage(), usage()]);
      const [seen] = await Promise.all([store.check(), store.insertUsage([])]);
      expect(seen).toMatchObject({
        schemaVersion: SCHEMA_VERSION,
        knownVersion: SCHEMA_VERSION,
        findings: kind.name === "SQLite" ? [] : undefined,
        readable: { ok: true },
        rows: { keys: 1, worker_secrets: 0, usage: 2, bodies: 0 },
        writable: { ok: true, why: "" },
        databaseBytes: expect.any(Number),
      });
    });

    test("closes once, and then refuses calls", async () => {
      await using database = await kind.create();
      const store = await database.open();
      await Promise.all([store.close(), store.close()]);
      expect(await errorOf(store.revision())).toMatchObject({ code: "store_closed" });
      expect(store.health().ok).toBe(true);
    });
  });
}
