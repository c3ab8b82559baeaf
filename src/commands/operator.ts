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
import { callRelay, namedRelay, relayHere, RelayUnreachable, type RelayAddress } from "./relay-call.ts";
import { jsonOption } from "./shared-options.ts";
import { httpAddress, secret } from "./value-kinds.ts";

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

/** For which keys of a relay that does not run are believed without asking its database again. */
const CACHE_MS = 30_000;

/** The relay that is named, else the one that runs on this machine, else the database of one that does not. */
export async function openOperator(config: Config<typeof operatorOptions>): Promise<Operator> {
  if (config.relayUrl !== undefined) return overHttp(namedRelay(config.relayUrl), tokenOf(config));
  const running = await relayHere(config.dataDir);
  if (running === undefined) return onDatabase(config);
  return overHttp({ url: running.url, isHere: true }, tokenOf(config));
}

/** @throws {Problem} if it is not given and no relay has made one here */
export function tokenOf({
  adminToken,
  dataDir,
}: Pick<Config<typeof operatorOptions>, "adminToken" | "dataDir">): string {
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

function overHttp(relay: RelayAddress, token: string): Operator {
  return {
    async ask<T>(method: AdminMethod, path: string, body?: object): Promise<T> {
      const { status, text } = await callRelay(relay, path, { method, token, body }).catch(
        (cause: unknown) => {
          if (!(cause instanceof RelayUnreachable)) throw cause;
          throw new Problem(cause.message, {
            action: "See whether it runs, or name another one with --relay-url",
            cause,
          });
        },
      );
      if (status >= 200 && status < 300) return (text === "" ? undefined : parsed(relay.url, text)) as T;
      throw refusedByRelay(relay.url, status, text);
    },
    async [Symbol.asyncDispose]() {},
  };
}

export function refusedByRelay(url: string, status: number, text: string): Problem {
  let message = `status ${status}`;
  try {
    const { error } = JSON.parse(text) as { error: { message: unknown } };
    if (typeof error.message === "string") message = error.message;
  } catch {
    // What is there is no relay, and its own words help nobody.
  }
  if (status === 401)
    return new Problem(`The relay at ${url} refused the admin token`, {
      action: "Give the relay's own with --admin-token-file; it is in its data directory",
    });
  return new Problem(`The relay at ${url} refused: ${message}`);
}

function parsed(url: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Problem(`Cannot ask the relay at ${url}: what answers there is no modelrelay`, {
      action: "Name the relay's address with --relay-url, with its port",
      cause,
    });
  }
}

async function onDatabase({ dataDir, databaseUrl }: Config<typeof operatorOptions>): Promise<Operator> {
  const store = await openStore({ dataDir, url: databaseUrl }, { clock: systemClock });
  try {
    // Rejects where the keys cannot be read, which would pass for none.
    await store.revision();
    const ring = await KeyRing.open(store, { clock: systemClock, log: silentLog, cacheTtlMs: CACHE_MS });
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
