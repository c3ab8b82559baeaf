import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { AcmeError } from "../../src/tls/acme/error.ts";
import type { AcmeOptions } from "../../src/tls/acme/types.ts";
import { openStore, type CertificateStore } from "../../src/tls/store/store.ts";
import { startPebble, type Pebble, type PebbleOptions } from "./pebble.ts";

/** A store in a folder of its own. */
export interface TestStore extends Disposable {
  dir: string;
  store: CertificateStore;
}

export function makeStore(): TestStore {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-acme-"));
  return {
    dir,
    store: openStore(dir, systemClock),
    [Symbol.dispose]: () => rmSync(dir, { recursive: true, force: true }),
  };
}

/** A CA, and what listens on the port where it looks for the answers to its challenges. */
export interface Site extends AsyncDisposable {
  pebble: Pebble;
  options: AcmeOptions;
  /** Whose challenges are answered; the tests of a file share the CA and change the store. */
  answerFrom(store: CertificateStore | undefined): void;
  /** Every challenge that was asked for, in order. */
  asked: string[];
}

export async function startSite(options: Partial<PebbleOptions> = {}): Promise<Site> {
  let answering: CertificateStore | undefined;
  const asked: string[] = [];
  const port80 = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    async fetch(request) {
      const token = /^\/\.well-known\/acme-challenge\/([^/]+)$/.exec(new URL(request.url).pathname)?.[1];
      if (token === undefined || answering === undefined) return new Response("no", { status: 404 });
      asked.push(token);
      const answer = await answering.challenge(token);
      return answer === undefined ? new Response("unknown", { status: 404 }) : new Response(answer);
    },
  });
  const pebble = await startPebble({ httpPort: port80.port!, ...options });
  return {
    pebble,
    options: {
      directoryUrl: pebble.directoryUrl,
      caPem: pebble.caPem,
      clock: systemClock,
      log: silentLog,
    },
    answerFrom: (store) => void (answering = store),
    asked,
    async [Symbol.asyncDispose]() {
      await pebble[Symbol.asyncDispose]();
      await port80.stop(true);
    },
  };
}

/** For calls that nobody stops. */
export const neverAborted = new AbortController().signal;

/** The error that something has to end in. */
export async function failureOf(promise: Promise<unknown>): Promise<AcmeError> {
  try {
    await promise;
  } catch (error) {
    return error as AcmeError;
  }
  throw new Error("It did not fail");
}
