import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLog } from "../../src/base/log.ts";
import { AcmeError } from "../../src/tls/acme/error.ts";
import { keepCertificates } from "../../src/tls/ca-source.ts";
import type { Authority } from "../../src/tls/keeper.ts";
import type { RenewalInfo } from "../../src/tls/policy.ts";
import type { CertificateSource, Identity } from "../../src/tls/source.ts";
import { openStore, type CertificateStore } from "../../src/tls/store/store.ts";
import { makeCertificate } from "../support/certificates.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { running, watched } from "./busy-store.ts";

const DOMAIN = "relay.example.com";
const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const issuer = makeCertificate({ names: ["Test CA"], authority: true });

let dir: string;
let clock: ManualClock;
let store: CertificateStore;
const sources: CertificateSource[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "modelrelay-keeper-"));
  clock = new ManualClock();
  store = watched(openStore(dir, clock));
});
afterEach(async () => {
  await Promise.all(sources.splice(0).map((source) => source.close()));
  rmSync(dir, { recursive: true, force: true });
});

/** A CA that answers as the test says; its certificates live for 90 days. */
class TestAuthority implements Authority {
  directoryUrl = "https://ca.example.com/directory";
  orders: { names: string[]; replaces: string | undefined; at: number }[] = [];
  questions: string[] = [];
  failure: Error | undefined;
  info: RenewalInfo | undefined;
  lifetimeMs = 90 * DAY_MS;
  /** Resolved at each order, so that a test can wait for it. */
  #waiting: (() => void)[] = [];

  async issue(names: string[], { replaces }: { replaces?: string }): Promise<void> {
    this.orders.push({ names, replaces, at: clock.wall() });
    for (const resolve of this.#waiting.splice(0)) resolve();
    if (this.failure !== undefined) throw this.failure;
    const now = clock.wall();
    const pair = makeCertificate({
      names,
      issuer,
      notBefore: now - HOUR_MS,
      notAfter: now + this.lifetimeMs,
    });
    await store.saveCertificate(names[0]!, pair);
  }

  renewalInfo(ariId: string): Promise<RenewalInfo | undefined> {
    this.questions.push(ariId);
    return Promise.resolve(this.info);
  }
}

interface Kept {
  source: CertificateSource;
  served: Identity[][];
}

async function keep(authority: TestAuthority, domains = [DOMAIN]): Promise<Kept> {
  const served: Identity[][] = [];
  const source = await keepCertificates(domains, {
    store,
    authority,
    clock,
    log: silentLog,
    random: () => 0.5,
    onChange: (identities) => served.push([...identities]),
  });
  sources.push(source);
  return { source, served };
}

/** Lets the keepers act until each of them waits, for its timer or for the other's lock. */
async function settle(): Promise<void> {
  // A lock's own files are not seen here; whoever waits for one still does so a while later.
  for (let quiet = 0; quiet < (running.locks > 0 ? 25 : 3);) {
    await Bun.sleep(1);
    quiet = running.others === 0 && clock.pending.length > 0 ? quiet + 1 : 0;
  }
}

/** Moves time on in steps, as it passes for a keeper that looks up now and then. */
async function pass(ms: number, stepMs = ms / 12): Promise<void> {
  for (let passed = 0; passed < ms; passed += stepMs) {
    clock.advance(stepMs);
    await settle();
  }
}

describe("Keeping a certificate", () => {
  test("orders the first one at once, and no other before two thirds of its life", async () => {
    const authority = new TestAuthority();
    const { served } = await keep(authority);
    await settle();
    await pass(55 * DAY_MS);
    expect(authority.orders).toHaveLength(1);
    await pass(10 * DAY_MS);
    expect(authority.orders).toHaveLength(2);
    expect(served).toHaveLength(2);
    expect(served[1]![0]!.chainPem).not.toBe(served[0]![0]!.chainPem);
  });

  test("names to the CA which certificate the new one replaces", async () => {
    const authority = new TestAuthority();
    await keep(authority);
    await settle();
    await pass(65 * DAY_MS);
    expect(authority.orders.map(({ replaces }) => replaces !== undefined)).toEqual([false, true]);
  });

  test("serves what the store has without an order", async () => {
    const now = clock.wall();
    await store.saveCertificate(
      DOMAIN,
      makeCertificate({ names: [DOMAIN], notBefore: now - DAY_MS, notAfter: now + 80 * DAY_MS }),
    );
    const authority = new TestAuthority();
    const { source } = await keep(authority);
    await settle();
    expect(source.identities()).toHaveLength(1);
    expect(authority.orders).toEqual([]);
  });

  test("tells nobody one by one of what the store has from the start", async () => {
    const domains = ["a.example.com", "b.example.com", "c.example.com"];
    const now = clock.wall();
    for (const name of domains) {
      const made = makeCertificate({ names: [name], notBefore: now - DAY_MS, notAfter: now + 80 * DAY_MS });
      await store.saveCertificate(name, made);
    }
    const { source, served } = await keep(new TestAuthority(), domains);
    await settle();
    expect(source.identities()).toHaveLength(3);
    expect(served).toEqual([]);
  });

  test("does not order one after the other where each is due as soon as it is there", async () => {
    const authority = new TestAuthority();
    authority.lifetimeMs = -60_000;
    const { source } = await keep(authority);
    await settle();
    expect(authority.orders).toHaveLength(1);
    expect(source.reports()[0]?.lastError?.message).toStartWith("Cannot rest on the new certificate");
    await pass(30_000);
    expect(authority.orders).toHaveLength(1);
  });

  test("tries again although the clock was set back by years after a failure", async () => {
    const now = clock.wall();
    const later = now + 9 * 365 * DAY_MS;
    await store.saveState(DOMAIN, {
      failures: 3,
      waitAsked: true,
      nextTryAt: later + HOUR_MS,
      lastError: { at: later, message: "The CA is down" },
    });
    const authority = new TestAuthority();
    await keep(authority);
    await settle();
    expect(authority.orders).toHaveLength(1);
  });

  test("renews as soon as it wakes after a sleep past the end", async () => {
    const authority = new TestAuthority();
    await keep(authority);
    await settle();
    clock.advance(200 * DAY_MS);
    await settle();
    expect(authority.orders).toHaveLength(2);
  });

  test("goes on with the old certificate while the CA is down, and tries again", async () => {
    const authority = new TestAuthority();
    const { source, served } = await keep(authority);
    await settle();
    authority.failure = new AcmeError("Cannot reach the CA", { type: "unreachable", action: "Wait" });
    await pass(60 * DAY_MS);
    await pass(2 * DAY_MS, HOUR_MS);
    const failed = authority.orders.length;
    expect(failed).toBeGreaterThan(2);
    expect(source.identities()).toEqual(served[0]!);
    expect(source.reports()[0]).toMatchObject({
      lastError: { message: "Cannot reach the CA", action: "Wait" },
      nextTryAt: expect.any(Number) as unknown,
    });
    authority.failure = undefined;
    await pass(7 * HOUR_MS);
    expect(served).toHaveLength(2);
    expect(source.reports()[0]?.lastError).toBeUndefined();
  });

  test("tries front-loaded, then in hours, when there is no certificate yet", async () => {
    const authority = new TestAuthority();
    authority.failure = new AcmeError("Cannot reach the CA", { type: "unreachable" });
    await keep(authority);
    await settle();
    await pass(HOUR_MS, 60_000);
    const inFirstHour = authority.orders.length;
    await pass(24 * HOUR_MS, 10 * 60_000);
    expect({ inFirstHour, inADay: authority.orders.length < 16 }).toEqual({ inFirstHour: 6, inADay: true });
  });

  test("waits for as long as the CA asks, over a restart too", async () => {
    const authority = new TestAuthority();
    const retryAtMs = clock.wall() + 5 * HOUR_MS;
    authority.failure = new AcmeError("Too many orders", { type: "rateLimited", retryAtMs });
    const first = await keep(authority);
    await settle();
    await pass(2 * HOUR_MS);
    await first.source.close();
    authority.failure = undefined;
    await keep(authority);
    await settle();
    await pass(2 * HOUR_MS);
    expect(authority.orders).toHaveLength(1);
    await pass(2 * HOUR_MS);
    expect(authority.orders).toHaveLength(2);
  });

  test("tries at once after a restart that a person made to mend what was wrong", async () => {
    const authority = new TestAuthority();
    authority.failure = new AcmeError("Port 80 is closed", { type: "connection", permanent: true });
    const first = await keep(authority);
    await settle();
    await pass(10 * 60_000);
    await first.source.close();
    authority.failure = undefined;
    const { served } = await keep(authority);
    await settle();
    expect(served).toHaveLength(1);
  });

  test("does not hurry after a restart right after a failure", async () => {
    const authority = new TestAuthority();
    authority.failure = new AcmeError("Port 80 is closed", { type: "connection", permanent: true });
    const first = await keep(authority);
    await settle();
    await first.source.close();
    await keep(authority);
    await settle();
    expect(authority.orders).toHaveLength(1);
  });

  test("tries at once when it is asked to", async () => {
    const authority = new TestAuthority();
    authority.failure = new AcmeError("Port 80 is closed", { type: "connection", permanent: true });
    const { source, served } = await keep(authority);
    await settle();
    authority.failure = undefined;
    source.reload();
    await settle();
    expect(served).toHaveLength(1);
  });

  test("renews within the CA's window, and asks again when it is told to", async () => {
    const authority = new TestAuthority();
    const start = clock.wall() + 10 * DAY_MS;
    authority.info = { start, end: start + 2 * DAY_MS, retryAt: clock.wall() + 6 * HOUR_MS };
    await keep(authority);
    await settle();
    await pass(5 * HOUR_MS);
    expect(authority.questions).toHaveLength(1);
    authority.info.retryAt = clock.wall() + 100 * DAY_MS;
    await pass(2 * HOUR_MS);
    expect(authority.questions).toHaveLength(2);
    while (authority.orders.length < 2) await pass(HOUR_MS, HOUR_MS);
    const renewedAt = authority.orders[1]!.at;
    expect({ early: renewedAt < start, late: renewedAt > start + 2 * DAY_MS }).toEqual({
      early: false,
      late: false,
    });
  });

  test("renews at once when the CA's window has passed, but not one certificate after the other", async () => {
    const authority = new TestAuthority();
    await keep(authority);
    await settle();
    await pass(DAY_MS);
    authority.info = {
      start: clock.wall() - 2 * DAY_MS,
      end: clock.wall() - DAY_MS,
      retryAt: clock.wall() + DAY_MS,
    };
    while (authority.orders.length < 2) await pass(HOUR_MS, HOUR_MS);
    await pass(3 * HOUR_MS);
    expect(authority.orders).toHaveLength(2);
  });

  test("goes by two thirds of the life where the CA has no renewal information", async () => {
    const authority = new TestAuthority();
    authority.lifetimeMs = 6 * DAY_MS;
    await keep(authority);
    await settle();
    await pass(3.5 * DAY_MS);
    expect(authority.orders).toHaveLength(1);
    await pass(DAY_MS);
    expect(authority.orders).toHaveLength(2);
  });

  test("orders anew when another CA is named", async () => {
    const staging = new TestAuthority();
    staging.directoryUrl = "https://staging.example.com/directory";
    const first = await keep(staging);
    await settle();
    await first.source.close();
    const authority = new TestAuthority();
    await keep(authority);
    await settle();
    expect(authority.orders.map(({ replaces }) => replaces)).toEqual([undefined]);
  });

  test("takes up what another process put into the store, and orders nothing", async () => {
    const authority = new TestAuthority();
    const { served } = await keep(authority);
    await settle();
    const now = clock.wall();
    const renewed = makeCertificate({ names: [DOMAIN], notBefore: now, notAfter: now + 90 * DAY_MS });
    await store.saveCertificate(DOMAIN, renewed);
    await pass(2 * 60_000);
    expect(served.at(-1)?.[0]?.chainPem).toBe(renewed.chainPem);
    expect(authority.orders).toHaveLength(1);
  });

  test("gets another when the stored one was revoked, and serves the old one until then", async () => {
    const authority = new TestAuthority();
    const { source, served } = await keep(authority);
    await settle();
    authority.failure = new AcmeError("Cannot reach the CA", { type: "unreachable" });
    await store.dropCertificate(DOMAIN);
    await pass(2 * 60_000);
    expect(source.identities()).toEqual(served[0]!);
    authority.failure = undefined;
    await pass(HOUR_MS);
    expect(served).toHaveLength(2);
  });

  test("two keepers on one store place one order", async () => {
    const authority = new TestAuthority();
    const both = await Promise.all([keep(authority), keep(authority)]);
    await settle();
    await pass(2 * 60_000);
    expect(authority.orders).toHaveLength(1);
    expect(both.map(({ source }) => source.identities().length)).toEqual([1, 1]);
  });

  test("one domain's failure keeps no other from its certificate", async () => {
    const authority = new TestAuthority();
    const issue = authority.issue.bind(authority);
    authority.issue = (names, options) =>
      names[0] === "bad.example.com"
        ? Promise.reject(new AcmeError("CAA forbids it", { type: "caa", permanent: true }))
        : issue(names, options);
    const { source } = await keep(authority, ["bad.example.com", DOMAIN]);
    await settle();
    expect(source.identities().map(({ names }) => names[0])).toEqual([DOMAIN]);
    expect(source.reports().map(({ lastError }) => lastError?.message)).toEqual([
      "CAA forbids it",
      undefined,
    ]);
  });
});
