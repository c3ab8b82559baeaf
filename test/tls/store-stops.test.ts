import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { thisProcess } from "../../src/tls/store/process-identity.ts";
import { openStore, type CertificateStore } from "../../src/tls/store/store.ts";
import {
  DEAD_PID,
  DIRECTORY,
  DOMAIN,
  filesBelow,
  order,
  otherPair,
  pair,
  storeFolder,
} from "./store-folder.ts";
import { Stopped, stoppingFiles } from "./stopping-files.ts";

/** A process of this host that has ended by the time the next one looks. */
const ended = { ...thisProcess(), pid: DEAD_PID };

/**
 * Runs the work again and again, each time on a fresh store that ends with one operation more, until it
 * ends by itself; after each stop a new store of another process looks.
 *
 * @returns how often the work was stopped
 */
async function stopEverywhere(
  prepare: (store: CertificateStore) => Promise<void>,
  work: (store: CertificateStore) => Promise<void>,
  look: (store: CertificateStore, dir: string) => Promise<void>,
  interrupt?: (dir: string) => Promise<void>,
): Promise<number> {
  for (let stopAt = 1; ; stopAt++) {
    using folder = storeFolder();
    await prepare(openStore(folder.dir, systemClock));
    await interrupt?.(folder.dir);
    const files = stoppingFiles(stopAt);
    let isStopped = false;
    try {
      await work(openStore(folder.dir, systemClock, { files, process: ended }));
    } catch {
      isStopped = true;
    }
    isStopped ||= files.count >= stopAt; // a step that only tells a failure was stopped
    await look(openStore(folder.dir, systemClock), folder.dir);
    if (!isStopped) return stopAt - 1;
    expect(stopAt).toBeLessThan(500);
  }
}

/** Whatever happened: no half file, nothing left over, and the copies agree with what counts. */
async function expectWhole(store: CertificateStore, dir: string): Promise<void> {
  await store.domains();
  const found = await store.certificate(DOMAIN);
  const names = filesBelow(join(dir, ".."));
  expect(names.filter((name) => /tmp|broken|probe/.test(name))).toEqual([]);
  const text = (name: string): string | undefined =>
    names.includes(`tls/${DOMAIN}/${name}`) ? readFileSync(join(dir, DOMAIN, name), "utf8") : undefined;
  expect([text("privkey.pem"), text("fullchain.pem")]).toEqual([found?.keyPem, found?.chainPem]);
}

const nothing = async (): Promise<void> => {};

describe("A process that is stopped between any two operations", () => {
  test("leaves the first certificate whole or not there", async () => {
    const outcomes = new Set<string>();
    const stops = await stopEverywhere(
      nothing,
      (store) => store.saveCertificate(DOMAIN, pair),
      async (store, dir) => {
        const found = await store.certificate(DOMAIN);
        if (found !== undefined) expect(found).toEqual(pair);
        outcomes.add(found === undefined ? "none" : "new");
        await expectWhole(store, dir);
      },
    );
    expect(outcomes).toEqual(new Set(["none", "new"]));
    expect(stops).toBeGreaterThan(20);
  });

  test("leaves the old certificate or the new one, never a key of one with the chain of the other", async () => {
    const outcomes: string[] = [];
    await stopEverywhere(
      (store) => store.saveCertificate(DOMAIN, pair),
      (store) => store.saveCertificate(DOMAIN, otherPair),
      async (store, dir) => {
        const found = await store.certificate(DOMAIN);
        expect([pair, otherPair]).toContainEqual(found as typeof pair);
        outcomes.push(found?.keyPem === pair.keyPem ? "old" : "new");
        await expectWhole(store, dir);
      },
    );
    // One moment makes the change.
    expect(outcomes.join(" ")).toMatch(/^(old ){5,}(new ?){5,}$/);
  });

  test("leaves the old state or the new one", async () => {
    const outcomes: number[] = [];
    await stopEverywhere(
      (store) => store.saveState(DOMAIN, { failures: 1 }),
      (store) => store.saveState(DOMAIN, { failures: 2 }),
      async (store, dir) => {
        outcomes.push((await store.state(DOMAIN)).failures);
        await expectWhole(store, dir);
      },
    );
    expect(outcomes.join("")).toMatch(/^1{5,}2+$/);
  });

  test("loses no account key: one that was read back once is there for ever", async () => {
    let stored: string | undefined;
    await stopEverywhere(
      nothing,
      async (store) => {
        stored = undefined;
        await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
        stored = (await store.account(DIRECTORY))?.keyPem;
        await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem, accountUrl: "https://ca.example/a/1" });
      },
      async (store, dir) => {
        const found = await store.account(DIRECTORY);
        if (stored !== undefined) expect(found?.keyPem).toBe(stored);
        if (found !== undefined) expect(found.keyPem).toBe(pair.keyPem);
        await expectWhole(store, dir);
        await store.saveAccount(DIRECTORY, { keyPem: pair.keyPem });
      },
    );
  });

  test("never loses the key of an order: it is in the order until it is in the certificate", async () => {
    let saved = false;
    await stopEverywhere(
      (store) => store.saveCertificate(DOMAIN, otherPair),
      async (store) => {
        saved = false;
        await store.prove();
        await store.savePendingOrder(DOMAIN, order);
        saved = true;
        await store.saveChallenge("token", "token.thumb");
        await store.saveCertificate(DOMAIN, pair);
        await store.saveState(DOMAIN, { failures: 0 });
        await store.dropChallenge("token");
        await store.dropPendingOrder(DOMAIN);
      },
      async (store, dir) => {
        const keys = [(await store.pendingOrder(DOMAIN))?.keyPem, (await store.certificate(DOMAIN))?.keyPem];
        if (saved) expect(keys).toContain(order.keyPem);
        expect([undefined, "token.thumb"]).toContain(await store.challenge("token"));
        await expectWhole(store, dir);
      },
    );
  });

  test("leaves a dropped certificate whole or gone", async () => {
    await stopEverywhere(
      (store) => store.saveCertificate(DOMAIN, pair),
      (store) => store.dropCertificate(DOMAIN),
      async (store, dir) => {
        const found = await store.certificate(DOMAIN);
        if (found !== undefined) expect(found).toEqual(pair);
        await expectWhole(store, dir);
      },
    );
  });

  test("can be followed by another that is stopped while it puts things right", async () => {
    /** A renewal that ends when what counts is in place, and the copies are not. */
    const halfRenewed = async (dir: string): Promise<void> => {
      for (let stopAt = 1; ; stopAt++) {
        const files = stoppingFiles(stopAt);
        const store = openStore(dir, systemClock, { files, process: ended });
        await store.saveCertificate(DOMAIN, otherPair).catch(() => {});
        const combined = readFileSync(join(dir, DOMAIN, "combined.pem"), "utf8");
        if (combined.startsWith(otherPair.keyPem)) break;
      }
      expect(readFileSync(join(dir, DOMAIN, "privkey.pem"), "utf8")).toBe(pair.keyPem);
    };
    await stopEverywhere(
      async (store) => await store.saveCertificate(DOMAIN, pair),
      async (store) => void (await store.certificate(DOMAIN)),
      async (store, dir) => {
        expect(await store.certificate(DOMAIN)).toEqual(otherPair);
        await expectWhole(store, dir);
      },
      halfRenewed,
    );
  });

  test("stops nothing for good: the same work then succeeds", async () => {
    await stopEverywhere(nothing, (store) => store.saveCertificate(DOMAIN, pair), async (store) => {
      await store.prove();
      await store.saveCertificate(DOMAIN, otherPair);
      expect(await store.certificate(DOMAIN)).toEqual(otherPair);
    }); // prettier-ignore
  });
});

test("A stopped operation is one that did not happen", async () => {
  using folder = storeFolder();
  const files = stoppingFiles(1);
  const stat = files.stat(folder.dir);
  expect(await stat.catch((error: unknown) => error)).toBeInstanceOf(Stopped);
});
