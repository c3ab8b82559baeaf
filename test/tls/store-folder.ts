import { existsSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Problem } from "../../src/base/errors.ts";
import type { Log } from "../../src/base/log.ts";
import type { PendingOrder } from "../../src/tls/store/store.ts";
import { makeCertificate } from "../support/certificates.ts";

/** A folder for a store, which is not there yet, and goes with the test. */
export function storeFolder(): { dir: string } & Disposable {
  const base = mkdtempSync(join(tmpdir(), "modelrelay-store-"));
  return {
    dir: join(base, "data", "tls"),
    [Symbol.dispose]: () => rmSync(base, { recursive: true, force: true }),
  };
}

/** Every file below a folder, as paths from it. */
export function filesBelow(dir: string): string[] {
  if (!existsSync(dir)) return [];
  return readdirSync(dir, { recursive: true, encoding: "utf8" })
    .filter((name) => statSync(join(dir, name)).isFile())
    .map((name) => name.replaceAll("\\", "/"))
    .sort();
}

/** A log that remembers its warnings. */
export function warnings(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  const drop = (): void => {};
  return {
    lines,
    log: {
      verbose: false,
      error: drop,
      warn: (line) => lines.push(line),
      info: drop,
      debug: drop,
      often: drop,
    },
  };
}

/** A process of this host that has ended, as far as anybody can tell. */
export const DEAD_PID = 2 ** 22 + 1;

export const DOMAIN = "relay.example.com";
export const DIRECTORY = "https://ca.example/directory";

const made = makeCertificate({ names: [DOMAIN], issuer: makeCertificate({ authority: true }) });
const other = makeCertificate({ names: [DOMAIN] });
/** A certificate of the domain with its issuer's. */
export const pair = { chainPem: made.chainPem, keyPem: made.keyPem };
/** Another one of the same domain. */
export const otherPair = { chainPem: other.chainPem, keyPem: other.keyPem };

export const order: PendingOrder = {
  orderUrl: "https://ca.example/order/1",
  keyPem: pair.keyPem,
  names: [DOMAIN],
  directoryUrl: DIRECTORY,
  createdAt: 1_800_000_000_000,
};

/** The problem that a piece of work ends with. */
export async function problemOf(work: Promise<unknown>): Promise<Problem> {
  const thrown = await work.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(thrown instanceof Problem)) throw new Error(`Not a problem: ${String(thrown)}`);
  return thrown;
}
