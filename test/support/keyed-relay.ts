import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { RelayConfig } from "../../src/server/config.ts";
import { startRelay, type PlainRelay } from "../../src/server/index.ts";
import { KeyRing, type KeySpec } from "../../src/server/keys/key-ring.ts";
import { MemoryKeyStore } from "./memory-key-store.ts";
import type { LinkVersion, RawWorker } from "./raw-worker.ts";
import { connectRawWorker, relayConfig } from "./relays.ts";

export const ADMIN_TOKEN = "admin-token-of-the-tests";
/** What the operator gave, beside the keys of the database. */
export const FIRST_KEY = "key-of-the-operator";

export interface Asked {
  status: number;
  headers: Headers;
  body: Record<string, unknown>;
}

/** A relay with keys, over loopback. It stands behind a proxy, so that each request can have an address. */
export interface KeyedRelay extends AsyncDisposable {
  relay: PlainRelay;
  url: string;
  store: MemoryKeyStore;
  ring: KeyRing;
  /** Sends a request as a client of its own address. */
  fetch(path: string, init?: RequestInit): Promise<Response>;
  /** Asks as an operator. */
  admin(method: string, path: string, body?: unknown, token?: string): Promise<Asked>;
  /** Makes a key. */
  key(more?: Partial<KeySpec>): Promise<{ id: string; secret: string }>;
  worker(secret?: string, link?: LinkVersion): Promise<RawWorker>;
}

let addresses = 0;

/** An address that no other request of this run has. */
export function newAddress(): string {
  const n = addresses++;
  return `10.${(n >> 16) & 255}.${(n >> 8) & 255}.${n & 255}`;
}

export async function startKeyedRelay(more: Partial<RelayConfig> = {}): Promise<KeyedRelay> {
  const store = new MemoryKeyStore();
  const ring = await KeyRing.open(store, { clock: systemClock, log: silentLog, cacheTtlMs: 900_000 });
  const config = {
    ...relayConfig({}),
    apiKey: FIRST_KEY,
    adminToken: ADMIN_TOKEN,
    trustedProxy: ["127.0.0.1/32"],
    ...more,
  };
  const relay = startRelay(config, { clock: systemClock, log: silentLog, ring });
  const { url } = relay;
  const asClient = (init: RequestInit = {}): RequestInit => {
    const headers = new Headers(init.headers);
    if (!headers.has("x-forwarded-for")) headers.set("x-forwarded-for", newAddress());
    return { ...init, headers, keepalive: false };
  };
  return {
    relay,
    url,
    store,
    ring,
    fetch: (path, init) => fetch(url + path, asClient(init)),
    async admin(method, path, body, token = ADMIN_TOKEN) {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      const response = await fetch(
        url + path,
        asClient({ method, headers, ...(body !== undefined && { body: JSON.stringify(body) }) }),
      );
      const text = await response.text();
      return {
        status: response.status,
        headers: response.headers,
        body: text === "" ? {} : (JSON.parse(text) as Record<string, unknown>),
      };
    },
    async key(spec = {}) {
      const { record, secret } = await ring.createKey({
        name: "a key",
        models: undefined,
        priority: "normal",
        limits: {},
        expiresAt: undefined,
        ...spec,
      });
      return { id: record.id, secret };
    },
    worker: (secret, link) => connectRawWorker(url, "", secret, link),
    async [Symbol.asyncDispose]() {
      await relay.stop();
      await ring.close();
    },
  };
}
