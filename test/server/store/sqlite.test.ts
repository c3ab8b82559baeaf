import { describe, expect, test } from "bun:test";
import { Database } from "bun:sqlite";
import { spawnSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { systemClock } from "../../../src/base/clock.ts";
import { SCHEMA_VERSION } from "../../../src/server/store/migrations.ts";
import { SqliteDatabase } from "../../../src/server/store/sqlite-database.ts";
import { DATABASE_FILE, openStore, type Store } from "../../../src/server/store/store.ts";
import { expectFlowing, watchLoop } from "./loop-lag.ts";
import { dataFolder, errorOf, HealthWatch, key, usage } from "./stores.ts";

const LOCK_HOLDER = join(import.meta.dir, "lock-holder.ts");

async function open(dataDir: string, options: { timeoutMs?: number } = {}): Promise<Store> {
  return openStore({ dataDir, ...options }, { clock: systemClock });
}

/** Another process that has the database locked, from now on, until its time or this scope ends. */
async function holdLock(file: string, holdMs: number): Promise<Bun.Subprocess & AsyncDisposable> {
  const child = Bun.spawn([process.execPath, LOCK_HOLDER, file, String(holdMs)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  for await (const chunk of child.stdout) {
    if (new TextDecoder().decode(chunk).includes("locked")) return child;
  }
  throw new Error("It did not take the lock");
}

const modeOf = (path: string): number => statSync(path).mode & 0o777;

describe("A store in a SQLite file", () => {
  test("keeps its file, and what stands beside it, for this user alone, whatever the umask", async () => {
    using folder = dataFolder();
    const dir = join(folder.dir, "made", "here");
    const umask = process.umask(0);
    try {
      await using store = await open(dir);
      await store.insertKey(key());
      const files = ["", "-wal", "-shm"].map((end) => modeOf(join(dir, `${DATABASE_FILE}${end}`)));
      expect([modeOf(dir), modeOf(dirname(dir)), ...files]).toEqual([0o700, 0o700, 0o600, 0o600, 0o600]);
    } finally {
      process.umask(umask);
    }
  });

  test("takes the right to read from others, where the file gave it", async () => {
    using folder = dataFolder();
    const file = join(folder.dir, DATABASE_FILE);
    await (await open(folder.dir)).close();
    chmodSync(file, 0o644);
    await (await open(folder.dir)).close();
    expect(modeOf(file)).toBe(0o600);
  });

  test.skipIf(process.getuid?.() !== 0)(
    "gives the file to the owner of the directory, when root makes it",
    async () => {
      using folder = dataFolder();
      spawnSync("chown", ["12345:12345", folder.dir]);
      await using store = await open(folder.dir);
      await store.insertKey(key());
      const owners = ["", "-wal", "-shm"].map(
        (end) => statSync(join(folder.dir, `${DATABASE_FILE}${end}`)).uid,
      );
      expect(owners).toEqual([12_345, 12_345, 12_345]);
    },
  );

  test("keeps a log of changes beside the file, and takes the file's own names as they are", async () => {
    using folder = dataFolder();
    const dir = join(folder.dir, "odd ?mode=memory&x=#%41 ü");
    await using store = await open(dir);
    await store.insertKey(key({ name: "kept" }));
    const beside = new Database(join(dir, DATABASE_FILE), { readonly: true });
    expect(beside.query("PRAGMA journal_mode").get()).toEqual({ journal_mode: "wal" });
    expect(beside.query("SELECT name FROM keys").all()).toEqual([{ name: "kept" }]);
    beside.close();
  });

  test("keeps what was stored when the process is killed", async () => {
    using folder = dataFolder();
    const program = `
      import { openStore } from ${JSON.stringify(join(import.meta.dir, "../../../src/server/store/store.ts"))};
      import { systemClock } from ${JSON.stringify(join(import.meta.dir, "../../../src/base/clock.ts"))};
      import { usage } from ${JSON.stringify(join(import.meta.dir, "stores.ts"))};
      const store = await openStore({ dataDir: ${JSON.stringify(folder.dir)} }, { clock: systemClock });
      await store.insertUsage(Array.from({ length: 700 }, () => usage()));
      process.kill(process.pid, "SIGKILL");`;
    const child = Bun.spawn([process.execPath, "-e", program], { stdio: ["ignore", "inherit", "inherit"] });
    await child.exited;
    expect(child.signalCode).toBe("SIGKILL");
    await using store = await open(folder.dir);
    expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 700 }]);
  });

  test("locked by another process for two seconds: reads go on, writes wait, and nothing else does", async () => {
    using folder = dataFolder();
    await using store = await open(folder.dir);
    await store.insertKey(key({ name: "known" }));
    await using holder = await holdLock(join(folder.dir, DATABASE_FILE), 2_000);
    const lagOf = watchLoop();
    const began = performance.now();
    const written = store.insertUsage([usage()]).then(() => performance.now() - began);
    const read = await store.listKeys().then(() => performance.now() - began);
    const writtenAfter = await written;
    const lag = lagOf();
    await holder.exited;
    expect(read).toBeLessThan(1_000);
    expect(writtenAfter).toBeGreaterThan(1_000);
    expectFlowing(lag);
    expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: 1 }]);
    expect(store.health().ok).toBe(true);
  });

  test("locked for longer than a call may take: says so, and comes back by itself", async () => {
    using folder = dataFolder();
    const watch = new HealthWatch();
    await using store = await openStore(
      { dataDir: folder.dir, timeoutMs: 300 },
      { clock: systemClock, changed: watch.changed },
    );
    const file = join(folder.dir, DATABASE_FILE);
    await using holder = await holdLock(file, 60_000);
    const error = await errorOf(store.insertKey(key()));
    expect(error.code).toBe("store_timeout");
    expect(error.message).toContain(`"${file}": another process has kept it locked`);
    expect(store.health()).toMatchObject({ ok: false, code: "store_timeout", reason: error.message });
    // Even while nobody can write, what is there can be read.
    expect(await store.listKeys()).toEqual([]);
    const back = watch.back();
    holder.kill("SIGKILL");
    await back;
    await store.insertKey(key());
    expect(await store.revision()).toBe(1);
  });

  test("opens while it is locked, and makes its tables later", async () => {
    using folder = dataFolder();
    const file = join(folder.dir, DATABASE_FILE);
    new Database(file).run("PRAGMA user_version = 1");
    await using holder = await holdLock(file, 60_000);
    const watch = new HealthWatch();
    await using store = await openStore(
      { dataDir: folder.dir, timeoutMs: 200 },
      { clock: systemClock, changed: watch.changed },
    );
    expect([store.schemaVersion, store.health().ok]).toEqual([undefined, false]);
    const back = watch.back();
    holder.kill("SIGKILL");
    await back;
    expect([store.schemaVersion, await store.revision()]).toEqual([SCHEMA_VERSION, 0]);
  });

  test("names a file that is no database, and leaves it alone", async () => {
    using folder = dataFolder();
    const file = join(folder.dir, DATABASE_FILE);
    writeFileSync(file, "Dear diary, ".repeat(2_000));
    const error = await errorOf(open(folder.dir));
    expect(error.code).toBe("store_corrupt");
    expect(error.message).toContain(`"${file}": it is not a SQLite database`);
    expect(error.action).toContain("backup");
    expect(readFileSync(file, "utf8")).toStartWith("Dear diary, ");
  });

  test("names a file whose pages are damaged, in calls and in the check", async () => {
    using folder = dataFolder();
    const file = join(folder.dir, DATABASE_FILE);
    const store = await open(folder.dir);
    await store.insertUsage(Array.from({ length: 2_000 }, (_, at) => usage({ at })));
    await store.close();
    const sound = readFileSync(file);
    const bytes = Buffer.from(sound);
    bytes.fill(0x5a, 40 * 4_096, 75 * 4_096);
    writeFileSync(file, bytes);
    await using damaged = await open(folder.dir);
    const error = await errorOf(damaged.recentRequests({ limit: 2_000 }));
    expect(error.code).toBe("store_corrupt");
    expect(error.message).toContain(`"${file}": its pages are damaged`);
    expect(damaged.health()).toMatchObject({ ok: false, code: "store_corrupt" });
    const seen = await damaged.check();
    expect(seen.findings?.length).toBeGreaterThan(0);
    // A connection that met damage is not kept: it would not see that another file is there.
    rmSync(file);
    writeFileSync(file, sound);
    expect(await damaged.recentRequests({ limit: 2_000 })).toHaveLength(1_000);
  });

  test("refuses a file that was cut short", async () => {
    using folder = dataFolder();
    const store = await open(folder.dir);
    await store.insertUsage(Array.from({ length: 500 }, () => usage()));
    await store.close();
    truncateSync(join(folder.dir, DATABASE_FILE), 5_000);
    expect((await errorOf(open(folder.dir))).code).toBe("store_corrupt");
  });

  test("says that a folder stands where the file should be", async () => {
    using folder = dataFolder();
    mkdirSync(join(folder.dir, DATABASE_FILE));
    expect((await errorOf(open(folder.dir))).code).toBe("store_refused");
  });

  test("says that a file stands where the data directory should be", async () => {
    using folder = dataFolder();
    const file = join(folder.dir, "file");
    writeFileSync(file, "");
    const error = await errorOf(open(file));
    expect(error.code).toBe("store_refused");
    expect(error.action).toContain("--data-dir");
  });
});

test("A SQLite connection runs one piece of work at a time, however long each takes", async () => {
  using folder = dataFolder();
  const settings = {
    file: join(folder.dir, "x.db"),
    url: undefined,
    purpose: "serve",
    timeoutMs: 5_000,
  } as const;
  const database = new SqliteDatabase(settings, { clock: systemClock });
  const { signal } = new AbortController();
  await database.run("write", (sql) => sql`CREATE TABLE t (name TEXT)`, signal);
  const halfDone = Promise.withResolvers<void>();
  const failing = database.run(
    "write",
    async (sql) => {
      await sql`INSERT INTO t (name) VALUES ('undone')`;
      await halfDone.promise;
      throw new Error("It went wrong");
    },
    signal,
  );
  const others = [
    database.run("write", (sql) => sql`INSERT INTO t (name) VALUES ('kept')`, signal),
    database.run("read", (sql) => sql`SELECT name FROM t`, signal),
  ];
  halfDone.resolve();
  const [failed, , read] = await Promise.allSettled([failing, ...others]);
  expect([failed?.status, read?.status === "fulfilled" && [...read.value]]).toEqual([
    "rejected",
    [{ name: "kept" }],
  ]);
  await database.close();
});

/** A file system of its own with 2 MiB, where this user may mount one. */
function smallDisk(): ({ dir: string } & Disposable) | undefined {
  if (process.platform !== "linux" || process.getuid?.() !== 0) return undefined;
  const folder = dataFolder();
  const mounted = spawnSync("mount", ["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", folder.dir]);
  if (mounted.status !== 0) {
    folder[Symbol.dispose]();
    return undefined;
  }
  return {
    dir: folder.dir,
    [Symbol.dispose]() {
      spawnSync("umount", ["-l", folder.dir]);
      folder[Symbol.dispose]();
    },
  };
}

const canMount = ((): boolean => {
  using disk = smallDisk();
  return disk !== undefined;
})();

test.skipIf(!canMount)(
  "A store on a full disk says so, answers what it knows, and goes on once there is room (skipped where this user may not mount)",
  async () => {
    using disk = smallDisk();
    if (disk === undefined) throw new Error("Cannot mount a small file system");
    const watch = new HealthWatch();
    await using store = await openStore(
      { dataDir: disk.dir },
      { clock: systemClock, changed: watch.changed },
    );
    await store.insertKey(key({ name: "known" }));
    const ballast = join(disk.dir, "ballast");
    let stored = 0;
    writeFileSync(ballast, new Uint8Array(1_400_000));
    const fill = async (): Promise<void> => {
      for (;;) {
        await store.insertUsage(Array.from({ length: 100 }, () => usage()));
        stored += 100;
      }
    };
    const error = await errorOf(fill());
    expect([error.code, error.message]).toEqual(["store_full", expect.stringContaining(disk.dir)]);
    expect(store.health()).toMatchObject({ ok: false, code: "store_full" });
    expect((await store.listKeys()).map(({ name }) => name)).toEqual(["known"]);
    const back = watch.back();
    rmSync(ballast);
    await back;
    await store.insertUsage([usage()]);
    expect(await store.sumUsage("model", 0)).toMatchObject([{ requests: stored + 1 }]);
    expect((await store.check()).findings).toEqual([]);
  },
);

describe("A backup of a SQLite file", () => {
  test("is whole, for this user alone, and made while others write", async () => {
    using folder = dataFolder();
    await using store = await open(folder.dir);
    const record = key();
    await store.insertKey(record);
    const ending = new AbortController();
    const writing = (async () => {
      while (!ending.signal.aborted) await store.insertUsage(Array.from({ length: 50 }, () => usage()));
    })();
    const copy = join(folder.dir, "it's a copy.db");
    const { file, bytes } = await store.backup(copy);
    ending.abort();
    await writing;
    expect([file, bytes, modeOf(copy)]).toEqual([copy, statSync(copy).size, 0o600]);
    const database = new Database(copy, { readonly: true });
    expect(database.query("PRAGMA integrity_check").get()).toEqual({ integrity_check: "ok" });
    expect(database.query("SELECT id FROM keys").all()).toEqual([{ id: record.id }]);
    // Whole batches: the copy is of one moment.
    const { rows } = database.query("SELECT COUNT(*) AS rows FROM usage").get() as { rows: number };
    expect(rows % 50).toBe(0);
    database.close();
  });

  test("can be put in the database's place", async () => {
    using folder = dataFolder();
    using other = dataFolder();
    await using store = await open(folder.dir);
    const record = key();
    await store.insertKey(record);
    const secret = await store.hashSecret();
    await store.backup(join(other.dir, DATABASE_FILE));
    await using restored = await open(other.dir);
    expect([await restored.listKeys(), await restored.hashSecret()]).toEqual([[record], secret]);
  });

  test("overwrites nothing", async () => {
    using folder = dataFolder();
    await using store = await open(folder.dir);
    const taken = join(folder.dir, "taken");
    writeFileSync(taken, "precious");
    const error = await errorOf(store.backup(taken));
    expect([error.code, error.message]).toEqual(["store_conflict", expect.stringContaining(taken)]);
    expect(readFileSync(taken, "utf8")).toBe("precious");
    expect(store.health().ok).toBe(true);
  });

  test.skipIf(process.platform === "win32")("takes a link that leads nowhere for a file", async () => {
    using folder = dataFolder();
    await using store = await open(folder.dir);
    const link = join(folder.dir, "link");
    symlinkSync(join(folder.dir, "nowhere"), link);
    expect((await errorOf(store.backup(link))).code).toBe("store_conflict");
    expect(readlinkSync(link)).toBe(join(folder.dir, "nowhere"));
  });

  test("leaves nothing where it cannot be written", async () => {
    using folder = dataFolder();
    await using store = await open(folder.dir);
    const error = await errorOf(store.backup(join(folder.dir, "no", "such", "folder")));
    expect(error.message).toContain(join(folder.dir, "no", "such", "folder"));
    expect(store.health().ok).toBe(true);
  });
});
