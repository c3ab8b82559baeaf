import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { pairMatches, type KeyPair } from "../../src/tls/certificate.ts";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { openStore } from "../../src/tls/store/store.ts";
import { lacksPart } from "../support/parts.ts";
import type { IssuerInput } from "../support/pebble-issuer.ts";
import { makeStore, neverAborted as signal, startSite, type Site } from "../support/pebble-site.ts";

const ISSUER = join(import.meta.dir, "../support/pebble-issuer.ts");
/** More than an order has steps; the row ends with the first process that is not killed. */
const MOST_STEPS = 200;

interface Result {
  /** Nothing when it was killed. */
  pair: (KeyPair & { steps: string[] }) | undefined;
  signal: string | number | null;
}

async function runIssuer(input: IssuerInput): Promise<Result> {
  const child = Bun.spawn([process.execPath, ISSUER, JSON.stringify(input)], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const text = await child.stdout.text();
  await child.exited;
  return { pair: text === "" ? undefined : JSON.parse(text), signal: child.signalCode };
}

// Several rows side by side would not know whose order Pebble counts.
describe.skipIf(lacksPart("pebble"))("A process that is killed", () => {
  let site: Site;
  beforeAll(async () => {
    // Refused nonces would make steps that come and go.
    site = await startSite({ nonceReject: 0 });
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test("between any two steps of an order is followed by one that finishes it: one order, one account, no lost key", async () => {
    const done: string[] = [];
    for (let killAt = 1; killAt < MOST_STEPS; killAt++) {
      using kept = makeStore();
      site.answerFrom(kept.store);
      const before = { orders: site.pebble.orderCount(), accounts: site.pebble.accountCount() };
      const names = [`kill-${killAt}.example`];
      const killed = await runIssuer({ ...inputFor(site, kept.dir), names, killAt });
      if (killed.pair !== undefined) {
        done.push(...killed.pair.steps);
        break;
      }
      expect(killed.signal).toBe("SIGKILL");
      const orders = site.pebble.orderCount() - before.orders;
      const pendingKey = (await openStore(kept.dir, systemClock).pendingOrder(names[0]!))?.keyPem;
      // A process of its own would be the same; this one is quicker.
      const store = openStore(kept.dir, systemClock);
      site.answerFrom(store);
      const stored = await store.certificate(names[0]!);
      const pair = stored ?? (await issueCertificate(names, store, site.options, { signal }));
      expect({
        killAt,
        orders: site.pebble.orderCount() - before.orders,
        accounts: site.pebble.accountCount() - before.accounts,
        matches: pairMatches(pair),
        stored: (await store.certificate(names[0]!))?.keyPem === pair.keyPem,
        // Once there is an order, its key is the one that was stored before it.
        sameKey: orders === 0 || pendingKey === undefined || pair.keyPem === pendingKey,
      }).toEqual({ killAt, orders: 1, accounts: 1, matches: true, stored: true, sameKey: true });
    }
    // All that matters was among the steps.
    for (const step of [
      "GET /dir",
      "saveAccount",
      "POST /sign-me-up",
      "savePendingOrder",
      "POST /order-plz",
      "saveChallenge",
      "saveCertificate",
      "dropPendingOrder",
    ])
      expect(done).toContain(step);
    expect(done.length).toBeGreaterThan(25);
  }, 90_000);

  test("after its certificate was stored leaves an order that is not taken for the next one", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const first = await issueCertificate(["kept.example"], kept.store, site.options, { signal });
    const orders = site.pebble.orderCount();
    await kept.store.savePendingOrder("kept.example", {
      orderUrl: `${site.pebble.url}/my-order/whatever`,
      keyPem: first.keyPem,
      names: ["kept.example"],
      directoryUrl: site.options.directoryUrl,
      createdAt: Date.now(),
    });
    const second = await issueCertificate(["kept.example"], kept.store, site.options, { signal });
    expect(second.keyPem).not.toBe(first.keyPem);
    expect(site.pebble.orderCount()).toBe(orders + 1);
  });
});

function inputFor({ options }: Site, dir: string): Omit<IssuerInput, "names"> {
  return { dir, directoryUrl: options.directoryUrl, caPem: options.caPem! };
}
