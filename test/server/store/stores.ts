import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import { systemClock } from "../../../src/base/clock.ts";
import type { KeyRecord } from "../../../src/server/keys/key-store.ts";
import type { WorkerSecretRecord } from "../../../src/server/keys/worker-secret-store.ts";
import {
  DATABASE_FILE,
  openStore,
  type Store,
  type StoreOptions,
  type StoreTools,
} from "../../../src/server/store/store.ts";
import { StoreError } from "../../../src/server/store/store-error.ts";
import type { StoreHealth } from "../../../src/server/store/store-health.ts";
import type { UsageRow } from "../../../src/server/usage/usage-store.ts";
import { lacksPart } from "../../support/parts.ts";
import { startPostgres, type Postgres } from "../../support/postgres.ts";

/** A folder that is gone at the end of its scope. */
export function dataFolder(): { dir: string } & Disposable {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-store-"));
  return { dir, [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }) };
}

/** The database without a store around it. */
export function beside({ dataDir, url }: StoreOptions): SQL {
  return url === undefined
    ? new SQL({ adapter: "sqlite", filename: join(dataDir, DATABASE_FILE) })
    : new SQL(url);
}

/** A database that several stores can open. */
export interface TestDatabase extends AsyncDisposable {
  options: StoreOptions;
  open(options?: Partial<StoreOptions>, tools?: Partial<StoreTools>): Promise<Store>;
}

/** One kind of database; `stop` ends what all its tests share. */
export interface DatabaseKind {
  name: "SQLite" | "PostgreSQL";
  skip: boolean;
  create(): Promise<TestDatabase>;
  stop(): Promise<void>;
}

function testDatabase(options: StoreOptions, remove: () => void): TestDatabase {
  const stores: Store[] = [];
  return {
    options,
    async open(more = {}, tools = {}) {
      const store = await openStore({ ...options, ...more }, { clock: systemClock, ...tools });
      stores.push(store);
      return store;
    },
    async [Symbol.asyncDispose]() {
      await Promise.all(stores.map((store) => store.close()));
      remove();
    },
  };
}

const sqlite: DatabaseKind = {
  name: "SQLite",
  skip: false,
  async create() {
    const folder = dataFolder();
    return testDatabase({ dataDir: folder.dir }, () => folder[Symbol.dispose]());
  },
  async stop() {},
};

let server: Promise<Postgres> | undefined;

/** The server of this test file, started when it is first needed; the file stops it. */
export function sharedPostgres(): Promise<Postgres> {
  return (server ??= startPostgres());
}

export async function stopPostgres(): Promise<void> {
  const running = server;
  server = undefined;
  await (await running)?.[Symbol.asyncDispose]();
}

const postgres: DatabaseKind = {
  name: "PostgreSQL",
  skip: lacksPart("postgres"),
  async create() {
    const url = await (await sharedPostgres()).createDatabase();
    return testDatabase({ dataDir: "/nowhere", url }, () => {});
  },
  stop: stopPostgres,
};

export const DATABASE_KINDS: readonly DatabaseKind[] = [sqlite, postgres];

/** What a call rejects with. */
export async function errorOf(promise: Promise<unknown>): Promise<StoreError> {
  const outcome = await promise.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (outcome instanceof StoreError) return outcome;
  throw new Error(`Expected a StoreError, got ${String(outcome)}`);
}

/** Hears each change of a store's health. */
export class HealthWatch {
  #waiting: { fits: (health: StoreHealth) => boolean; resolve: (health: StoreHealth) => void }[] = [];

  readonly changed = (health: StoreHealth): void => {
    for (const { fits, resolve } of this.#waiting) if (fits(health)) resolve(health);
  };

  /** The next change, from now on, that fits. */
  next(fits: (health: StoreHealth) => boolean): Promise<StoreHealth> {
    const { promise, resolve } = Promise.withResolvers<StoreHealth>();
    this.#waiting.push({ fits, resolve });
    return promise;
  }

  lost(): Promise<StoreHealth> {
    return this.next(({ ok }) => !ok);
  }

  back(): Promise<StoreHealth> {
    return this.next(({ ok }) => ok);
  }
}

let made = 0;

export function key(fields: Partial<KeyRecord> = {}): KeyRecord {
  made++;
  return {
    id: crypto.randomUUID(),
    name: `key ${made}`,
    prefix: `mr_live_${made}`,
    hash: crypto.randomUUID(),
    models: undefined,
    priority: "normal",
    limits: {},
    createdAt: 1_790_000_000_000 + made,
    expiresAt: undefined,
    revokedAt: undefined,
    lastUsedAt: undefined,
    ...fields,
  };
}

export function workerSecret(fields: Partial<WorkerSecretRecord> = {}): WorkerSecretRecord {
  made++;
  return {
    id: crypto.randomUUID(),
    name: `box ${made}`,
    prefix: `w_${made}`,
    hash: crypto.randomUUID(),
    models: undefined,
    createdAt: 1_790_000_000_000 + made,
    revokedAt: undefined,
    ...fields,
  };
}

export function usage(fields: Partial<UsageRow> = {}): UsageRow {
  return {
    id: crypto.randomUUID(),
    at: 1_790_000_000_000,
    keyId: undefined,
    keyName: undefined,
    model: "llama",
    servedModel: undefined,
    worker: undefined,
    path: "/v1/chat/completions",
    status: 200,
    outcome: "complete",
    reason: "",
    queueMs: undefined,
    firstByteMs: undefined,
    totalMs: 12,
    promptTokens: 10,
    completionTokens: 5,
    cachedTokens: 0,
    estimated: false,
    bytesIn: 100,
    bytesOut: 1_000,
    ...fields,
  };
}
