import { describe, expect, test } from "bun:test";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { lacksPart } from "../support/parts.ts";
import { postAs } from "../support/pebble-account.ts";
import { startFront } from "../support/pebble-front.ts";
import { failureOf, makeStore, neverAborted as signal, startSite } from "../support/pebble-site.ts";

const EAB = { kid: "kid-1", hmacKey: "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W" };

describe.skipIf(lacksPart("pebble"))("An account", () => {
  test("that the CA has forgotten is replaced once, and the order goes on", async () => {
    using kept = makeStore();
    await using first = await startSite();
    first.answerFrom(kept.store);
    await issueCertificate(["lost.example"], kept.store, first.options, { signal });
    const { directoryUrl } = first.options;
    const old = await kept.store.account(directoryUrl);
    // Another Pebble, which stands for the same one with an empty database.
    await using second = await startSite();
    second.answerFrom(kept.store);
    const options = { ...second.options };
    await kept.store.saveAccount(options.directoryUrl, {
      ...old!,
      accountUrl: `${second.pebble.url}/my-account/0123456789abcdef`,
    });
    const pair = await issueCertificate(["lost.example"], kept.store, options, { signal });
    expect(await kept.store.certificate("lost.example")).toEqual(pair);
    const now = await kept.store.account(options.directoryUrl);
    expect(now?.keyPem).not.toBe(old?.keyPem);
    expect(second.pebble.accountCount()).toBe(1);
  });

  test("that was deactivated at the CA is replaced once, and its pending order with it", async () => {
    using kept = makeStore();
    await using site = await startSite();
    site.answerFrom(kept.store);
    await using front = startFront(site.pebble);
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    front.fail({ path: /finalize/, status: 500, times: 1 });
    const failed = await failureOf(issueCertificate(["gone.example"], kept.store, options, { signal }));
    expect(failed.message).toContain("HTTP 500");
    expect(await kept.store.pendingOrder("gone.example")).toBeDefined();
    const account = (await kept.store.account(front.directoryUrl))!;
    const ended = await postAs(account, account.accountUrl!, { status: "deactivated" }, options);
    expect(await ended.json()).toMatchObject({ status: "deactivated" });
    await issueCertificate(["gone.example"], kept.store, options, { signal });
    expect({
      accounts: site.pebble.accountCount(),
      pending: await kept.store.pendingOrder("gone.example"),
    }).toEqual({ accounts: 2, pending: undefined });
  });

  test("that was registered in a life before is found by its key", async () => {
    using kept = makeStore();
    await using site = await startSite();
    site.answerFrom(kept.store);
    await issueCertificate(["known.example"], kept.store, site.options, { signal });
    const { accountUrl, ...rest } = (await kept.store.account(site.options.directoryUrl))!;
    await kept.store.retireAccount(site.options.directoryUrl);
    await kept.store.saveAccount(site.options.directoryUrl, rest);
    await issueCertificate(["known.example"], kept.store, site.options, { signal });
    expect((await kept.store.account(site.options.directoryUrl))?.accountUrl).toBe(accountUrl);
    expect(site.pebble.accountCount()).toBe(1);
  });

  test("is bound to one at the CA's site where the CA asks for that", async () => {
    using kept = makeStore();
    await using site = await startSite({ eab: { [EAB.kid]: EAB.hmacKey } });
    site.answerFrom(kept.store);
    const missing = issueCertificate(["eab.example"], kept.store, site.options, { signal });
    expect(await failureOf(missing)).toMatchObject({
      type: "externalAccountRequired",
      permanent: true,
      action: "Give --acme-eab-kid and --acme-eab-key, as your account's page at the CA shows them",
    });
    for (const eab of [
      { ...EAB, hmacKey: "AAAA" },
      { ...EAB, kid: "kid-2" },
    ]) {
      const wrong = issueCertificate(["eab.example"], kept.store, { ...site.options, eab }, { signal });
      expect(await failureOf(wrong)).toMatchObject({
        permanent: true,
        message: expect.stringContaining("the CA does not take the binding"),
        action: expect.stringContaining("Check --acme-eab-kid and --acme-eab-key"),
      });
    }
    await issueCertificate(["eab.example"], kept.store, { ...site.options, eab: EAB }, { signal });
    expect((await kept.store.account(site.options.directoryUrl))?.eabKid).toBe(EAB.kid);
    // Once bound it stays so.
    await issueCertificate(["eab.example"], kept.store, site.options, { signal });
    expect(site.pebble.accountCount()).toBe(1);
  });

  test("must agree to new terms when the CA says so, and is told where", async () => {
    using kept = makeStore();
    await using site = await startSite();
    await using front = startFront(site.pebble);
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    front.fail({
      path: /order-plz/,
      status: 403,
      body: {
        type: "urn:ietf:params:acme:error:userActionRequired",
        detail: "Terms of service have changed",
        instance: "https://ca.example/agreement",
      },
    });
    const refused = issueCertificate(["terms.example"], kept.store, options, { signal });
    expect(await failureOf(refused)).toMatchObject({
      type: "userActionRequired",
      permanent: true,
      action: "Visit https://ca.example/agreement",
    });
  });
});
