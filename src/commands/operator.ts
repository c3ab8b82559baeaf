import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import { silentLog } from "../base/log.ts";
import { AdminRefusal, createAdminDesk, type AdminMethod } from "../server/admin/admin-desk.ts";
import { keyRoutes } from "../server/admin/key-routes.ts";
import { workerSecretRoutes } from "../server/admin/worker-secret-routes.ts";
import { requestRoute } from "../server/bodies/request-route.ts";
import { KeyRing } from "../server/keys/key-ring.ts";
import { openStore } from "../server/store/store.ts";
import { usageRoutes } from "../server/usage/usage-routes.ts";
import { databaseOptions } from "./db-shared.ts";
import { defineOptions, type Config } from "./options.ts";
import { readRelayFile } from "./relay-file.ts";
import { jsonOption } from "./shared-options.ts";
import { httpAddress, leadsHere, secret } from "./value-kinds.ts";

/** What every command takes that asks a relay for something as its operator. */
export const operatorOptions = defineOptions({
  json: jsonOption,
  relayUrl: {
    env: "MODELRELAY_URL",
    inFile: false,
    hint: "URL",
    help: "Address of the relay",
    defaultText: "the one that runs on this machine; its database if none does",
    schema: httpAddress,
  },
  adminToken: {
    env: "MODELRELAY_ADMIN_TOKEN",
    secret: true,
    hint: "TOKEN",
    help: "Admin token of the relay",
    defaultText: "the one that the relay on this machine has made",
    schema: secret,
  },
  ...databaseOptions,
});

/** Asks as an operator, of a relay or of its database. */
export interface Operator extends AsyncDisposable {
  /** @throws {Problem} if it is refused */
  ask<T>(method: AdminMethod, path: string, body?: object): Promise<T>;
}

const TIMEOUT_MS = 30_000;
const LOOK_TIMEOUT_MS = 3_000;

/**
 * What is asked of this machine leaves it neither through a proxy nor over a wire, and the relay's
 * certificate is not for the machine's own address.
 */
const HERE = { proxy: false as unknown as string, tls: { rejectUnauthorized: false } };

/** The relay that is named, else the one that runs on this machine, else the database of one that does not. */
export async function openOperator(config: Config<typeof operatorOptions>): Promise<Operator> {
  if (config.relayUrl !== undefined) return overHttp(config.relayUrl, tokenOf(config));
  const running = readRelayFile(config.dataDir);
  // A relay that was killed leaves its file, and in a container the next program has its number.
  if (running === undefined || !(await isRelay(running.url))) return onDatabase(config);
  return overHttp(running.url, tokenOf(config));
}

async function isRelay(url: string): Promise<boolean> {
  try {
    const response = await fetch(`${url}/livez`, { ...HERE, signal: AbortSignal.timeout(LOOK_TIMEOUT_MS) });
    return response.ok && ((await response.json()) as { status?: unknown }).status === "ok";
  } catch {
    return false;
  }
}

/** @throws {Problem} if it is not given and no relay has made one here */
function tokenOf({ adminToken, dataDir }: Config<typeof operatorOptions>): string {
  if (adminToken !== undefined) return adminToken;
  const path = join(dataDir, "admin-token");
  try {
    return readFileSync(path, "utf8").trim();
  } catch (cause) {
    throw new Problem(`Cannot read the relay's admin token in "${path}": ${messageOf(cause)}`, {
      action: "Run this as the relay's user, or give the token with --admin-token-file",
      cause,
    });
  }
}

function overHttp(url: string, token: string): Operator {
  const isHere = leadsHere(url);
  return {
    async ask<T>(method: AdminMethod, path: string, body?: object): Promise<T> {
      const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
      let response: Response;
      try {
        response = await fetch(url + path, {
          method,
          headers,
          ...(body !== undefined && { body: JSON.stringify(body) }),
          redirect: "error",
          signal: AbortSignal.timeout(TIMEOUT_MS),
          ...(isHere && HERE),
        });
      } catch (cause) {
        throw new Problem(`Cannot reach the relay at ${url}: ${messageOf(cause)}`, {
          action: "See whether it runs, or name another one with --relay-url",
          cause,
        });
      }
      const text = await response.text();
      if (response.ok) return (text === "" ? undefined : JSON.parse(text)) as T;
      throw refusedByRelay(url, response.status, text);
    },
    async [Symbol.asyncDispose]() {},
  };
}

function refusedByRelay(url: string, status: number, text: string): Problem {
  let message = `status ${status}`;
  try {
    ({ message } = (JSON.parse(text) as { error: { message: string } }).error);
  } catch {
    // What is there is no relay, and its own words help nobody.
  }
  if (status === 401)
    return new Problem(`The relay at ${url} refused the admin token`, {
      action: "Give the relay's own with --admin-token-file; it is in its data directory",
    });
  return new Problem(`The relay at ${url} refused: ${message}`);
}

async function onDatabase({ dataDir, databaseUrl }: Config<typeof operatorOptions>): Promise<Operator> {
  const store = await openStore({ dataDir, url: databaseUrl }, { clock: systemClock });
  try {
    // Rejects where the keys cannot be read, which would pass for none.
    await store.revision();
    const ring = await KeyRing.open(store, { clock: systemClock, log: silentLog, cacheTtlMs: TIMEOUT_MS });
    const desk = createAdminDesk([
      ...keyRoutes(ring, () => {}),
      ...workerSecretRoutes(ring),
      ...usageRoutes({ store, clock: systemClock }),
      requestRoute(store),
    ]);
    return {
      async ask<T>(method: AdminMethod, path: string, body?: object): Promise<T> {
        const [bare = "", query = ""] = path.split("?");
        try {
          const answer = await desk.answer(method, bare, new URLSearchParams(query), body);
          return (answer instanceof Response ? undefined : answer.body) as T;
        } catch (error) {
          throw error instanceof AdminRefusal ? new Problem(error.message, { cause: error }) : error;
        }
      },
      async [Symbol.asyncDispose]() {
        await ring.close();
        await store.close();
      },
    };
  } catch (error) {
    await store.close();
    throw error;
  }
}
