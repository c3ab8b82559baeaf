import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readCertificate, type KeyPair } from "../../src/tls/certificate.ts";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { revokeCertificate } from "../../src/tls/acme/revoke.ts";
import { makeCertificate } from "../support/certificates.ts";
import { lacksPart } from "../support/parts.ts";
import {
  failureOf,
  makeStore,
  neverAborted as signal,
  startSite,
  type Site,
} from "../support/pebble-site.ts";

describe.skipIf(lacksPart("pebble"))("A certificate", () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite();
  });
  afterAll(() => site[Symbol.asyncDispose]());
  const status = ({ chainPem }: KeyPair) => site.pebble.status(readCertificate(chainPem).serial);

  test("is revoked by the account that ordered it, and another one is ordered after it", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const pair = await issueCertificate(["revoked.example"], kept.store, site.options, { signal });
    expect(await status(pair)).toBe("Valid");
    await revokeCertificate(pair, "keyCompromise", kept.store, site.options);
    expect(await status(pair)).toBe("Revoked");
    const next = await issueCertificate(["revoked.example"], kept.store, site.options, { signal });
    expect(next.keyPem).not.toBe(pair.keyPem);
    expect(await status(next)).toBe("Valid");
  });

  test("is revoked by its own key where the account is another one, or there is none", async () => {
    using owner = makeStore();
    using other = makeStore();
    using empty = makeStore();
    for (const { store } of [other, empty]) {
      site.answerFrom(owner.store);
      const pair = await issueCertificate(["own.example"], owner.store, site.options, { signal });
      site.answerFrom(other.store);
      await issueCertificate(["other.example"], other.store, site.options, { signal });
      await revokeCertificate(pair, "unspecified", store, site.options);
      expect(await status(pair)).toBe("Revoked");
    }
  });

  test("that is revoked already stays so without a failure", async () => {
    using kept = makeStore();
    using empty = makeStore();
    site.answerFrom(kept.store);
    const pair = await issueCertificate(["twice.example"], kept.store, site.options, { signal });
    for (const { store } of [kept, kept, empty])
      await revokeCertificate(pair, "cessationOfOperation", store, site.options);
    expect(await status(pair)).toBe("Revoked");
  });

  test("of another CA is not revoked, and the CA's reason told", async () => {
    using kept = makeStore();
    const foreign = makeCertificate({ names: ["foreign.example"] });
    const error = await failureOf(revokeCertificate(foreign, "unspecified", kept.store, site.options));
    expect(error.name).toBe("AcmeError");
    expect(error.message).toStartWith("Cannot revoke the certificate: ");
  });
});
