import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { checkPair, readCertificate } from "../../src/tls/certificate.ts";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { lacksPart } from "../support/parts.ts";
import { startFront } from "../support/pebble-front.ts";
import {
  failureOf,
  makeStore,
  neverAborted as signal,
  startSite,
  type Site,
} from "../support/pebble-site.ts";

describe.skipIf(lacksPart("pebble"))("An order", () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite();
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test("brings a certificate that its key belongs to and that the CA's root vouches for", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const pair = await issueCertificate(["one.example"], kept.store, site.options, { signal });
    expect(checkPair(pair, Date.now() + 1_000).names).toEqual(["one.example"]);
    const [leaf, intermediate] = pair.chainPem.split(/(?<=-----END CERTIFICATE-----)\s*/);
    const root = new X509Certificate(await site.pebble.rootPem());
    expect(new X509Certificate(leaf!).verify(new X509Certificate(intermediate!).publicKey)).toBe(true);
    expect(new X509Certificate(intermediate!).verify(root.publicKey)).toBe(true);
    expect(new X509Certificate(leaf!).publicKey.asymmetricKeyDetails).toEqual({ namedCurve: "prime256v1" });
  });

  test("leaves the certificate in the store, and nothing of the order or its challenges", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const before = site.asked.length;
    const pair = await issueCertificate(["two.example"], kept.store, site.options, { signal });
    // Pebble asks from several places, as Let's Encrypt does.
    const [token = "", ...others] = new Set(site.asked.slice(before));
    expect(others).toEqual([]);
    expect({
      pair: await kept.store.certificate("two.example"),
      pending: await kept.store.pendingOrder("two.example"),
      challenge: await kept.store.challenge(token),
    }).toEqual({ pair, pending: undefined, challenge: undefined });
  });

  test("is for several names at once, under the first of them", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const names = ["many.example", "www.many.example", "xn--bcher-kva.example"];
    const pair = await issueCertificate(names, kept.store, site.options, { signal });
    expect(readCertificate(pair.chainPem).names.sort()).toEqual([...names].sort());
    expect(await kept.store.certificate("many.example")).toEqual(pair);
  });

  test("gets another key at each renewal, of the same account", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const accounts = site.pebble.accountCount();
    const first = await issueCertificate(["again.example"], kept.store, site.options, { signal });
    const second = await issueCertificate(["again.example"], kept.store, site.options, { signal });
    expect(second.keyPem).not.toBe(first.keyPem);
    expect(await kept.store.certificate("again.example")).toEqual(second);
    expect(site.pebble.accountCount()).toBe(accounts + 1);
  });

  test("tells the CA the e-mail address, and another one when it changes", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    await using front = startFront(site.pebble);
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    const contacts = () =>
      [...front.payloads(/sign-me-up/), ...front.payloads(/my-account/)].flatMap(
        (payload) => (payload as { contact?: string[] }).contact ?? [],
      );
    for (const email of ["a@mail.example", "b@mail.example"])
      await issueCertificate(["mail.example"], kept.store, { ...options, email }, { signal });
    const told = ["mailto:a@mail.example", "mailto:b@mail.example"];
    expect(contacts()).toEqual(told);
    await issueCertificate(["mail.example"], kept.store, { ...options, email: "b@mail.example" }, { signal });
    expect(contacts()).toEqual(told);
    expect((await kept.store.account(front.directoryUrl))?.email).toBe("b@mail.example");
  });

  test("of two domains at the same time opens one account", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const accounts = site.pebble.accountCount();
    const names = ["left.example", "right.example", "middle.example"];
    await Promise.all(names.map((name) => issueCertificate([name], kept.store, site.options, { signal })));
    expect(site.pebble.accountCount()).toBe(accounts + 1);
  });

  test("that another CA had begun is not gone on with, nor one for other names", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const rest = {
      orderUrl: `${site.pebble.url}/my-order/none`,
      keyPem: "-----BEGIN PRIVATE KEY-----",
      createdAt: 0,
    };
    const pending = { ...rest, names: ["moved.example"], directoryUrl: "https://other.example/dir" };
    await kept.store.savePendingOrder("moved.example", pending);
    await issueCertificate(["moved.example"], kept.store, site.options, { signal });
    await kept.store.savePendingOrder("moved.example", {
      ...pending,
      directoryUrl: site.options.directoryUrl,
      names: ["x.example"],
    });
    const pair = await issueCertificate(["moved.example"], kept.store, site.options, { signal });
    expect(readCertificate(pair.chainPem).names).toEqual(["moved.example"]);
  });

  test("fifty times over fails not once, though the CA refuses one nonce in twenty", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    await using front = startFront(site.pebble);
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    const orders = site.pebble.orderCount();
    for (let round = 0; round < 50; round += 2)
      await Promise.all(
        [round, round + 1].map((n) => issueCertificate([`n${n}.example`], kept.store, options, { signal })),
      );
    expect(site.pebble.orderCount()).toBe(orders + 50);
    expect(await kept.store.domains()).toHaveLength(50);
    // Some 600 requests are signed for it.
    expect(front.refusedNonces()).toBeGreaterThan(5);
  });
});

describe.skipIf(lacksPart("pebble"))("An order at a CA that remembers the name", () => {
  test("is finished without another challenge", async () => {
    using kept = makeStore();
    await using site = await startSite({ env: { PEBBLE_AUTHZREUSE: "100" } });
    site.answerFrom(kept.store);
    await issueCertificate(["known.example"], kept.store, site.options, { signal });
    const tokens = new Set(site.asked).size;
    const pair = await issueCertificate(["known.example"], kept.store, site.options, { signal });
    expect(readCertificate(pair.chainPem).names).toEqual(["known.example"]);
    expect({ tokens, now: new Set(site.asked).size }).toEqual({ tokens: 1, now: 1 });
  });
});

describe.skipIf(lacksPart("pebbleAri"))("An order at a CA with renewal information", () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite({ part: "pebbleAri" });
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test("names the certificate that it replaces", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    await using front = startFront(site.pebble);
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    const first = await issueCertificate(["ari.example"], kept.store, options, { signal });
    const replaces = readCertificate(first.chainPem).ariId!;
    await issueCertificate(["ari.example"], kept.store, options, { signal, replaces });
    expect(front.payloads(/order-plz/)).toEqual([
      { identifiers: [{ type: "dns", value: "ari.example" }] },
      { identifiers: [{ type: "dns", value: "ari.example" }], replaces },
    ]);
  });

  test("is placed without that name if the CA refuses it: replaced already, or unknown to it", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const first = await issueCertificate(["twice.example"], kept.store, site.options, { signal });
    const replaces = readCertificate(first.chainPem).ariId!;
    const orders = site.pebble.orderCount();
    for (const name of [replaces, replaces, "AAAA.BBBB", "nonsense"])
      await issueCertificate(["twice.example"], kept.store, site.options, { signal, replaces: name });
    expect(site.pebble.orderCount()).toBe(orders + 4);
  });

  test("asks for a profile, and says which there are if the CA has another choice", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const options = { ...site.options, profile: "shortlived" };
    const pair = await issueCertificate(["short.example"], kept.store, options, { signal });
    const { notBefore, notAfter } = readCertificate(pair.chainPem);
    expect((notAfter - notBefore) / 86_400_000).toBeCloseTo(6, 1);
    const orders = site.pebble.orderCount();
    const wrong = issueCertificate(["short.example"], kept.store, { ...options, profile: "no" }, { signal });
    expect(await failureOf(wrong)).toMatchObject({
      type: "noProfile",
      permanent: true,
      message: 'Cannot get a certificate for short.example: the CA has no profile "no"',
      action: "Choose one of default, shortlived, or none",
    });
    expect(site.pebble.orderCount()).toBe(orders);
  });
});
