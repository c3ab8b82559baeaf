import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { readCertificate } from "../../src/tls/certificate.ts";
import { renewalInfo } from "../../src/tls/acme/ari.ts";
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

const HOUR = 3_600_000;
const DAY = 86_400_000;

describe.skipIf(lacksPart("pebbleAri"))("Renewal information of a real CA", () => {
  let site: Site;
  beforeAll(async () => {
    site = await startSite({ part: "pebbleAri" });
  });
  afterAll(() => site[Symbol.asyncDispose]());

  test("is a window in the certificate's last third, and when to ask again", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    // Pebble chooses any profile when it is not told one.
    const options = { ...site.options, profile: "default" };
    const pair = await issueCertificate(["window.example"], kept.store, options, { signal });
    const { ariId, notBefore, notAfter } = readCertificate(pair.chainPem);
    const info = (await renewalInfo(ariId!, site.options, signal))!;
    expect(info.start).toBeGreaterThan(notBefore + (notAfter - notBefore) / 2);
    expect(info.end).toBeWithin(info.start, notAfter);
    expect(info.retryAt - Date.now()).toBeWithin(6 * HOUR - 60_000, 6 * HOUR + 1);
  });

  test("says that the time is now, and why", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const pair = await issueCertificate(["now.example"], kept.store, site.options, { signal });
    const { ariId } = readCertificate(pair.chainPem);
    const suggestedWindow = { start: "2020-01-01T00:00:00.123456789Z", end: "2020-01-02T00:00:00+01:00" };
    await site.pebble.setRenewalInfo(pair.chainPem, {
      suggestedWindow,
      explanationURL: "https://ca.example/why",
    });
    expect(await renewalInfo(ariId!, site.options, signal)).toMatchObject({
      start: Date.UTC(2020, 0, 1, 0, 0, 0, 123),
      end: Date.UTC(2020, 0, 1, 23),
      explanationUrl: "https://ca.example/why",
    });
  });

  test("wants a revoked certificate renewed at once", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const pair = await issueCertificate(["revoked.example"], kept.store, site.options, { signal });
    const { ariId } = readCertificate(pair.chainPem);
    await revokeCertificate(pair, "superseded", kept.store, site.options);
    expect((await renewalInfo(ariId!, site.options, signal))?.start).toBeLessThan(Date.now());
  });

  test("that makes no sense is refused, whatever it is", async () => {
    using kept = makeStore();
    site.answerFrom(kept.store);
    const pair = await issueCertificate(["odd.example"], kept.store, site.options, { signal });
    const { ariId } = readCertificate(pair.chainPem);
    const start = "2027-01-02T00:00:00Z";
    for (const info of [
      "{",
      "[]",
      "null",
      {},
      { suggestedWindow: null },
      { suggestedWindow: { start } },
      { suggestedWindow: { start, end: start } },
      { suggestedWindow: { start, end: "2027-01-01T00:00:00Z" } },
      { suggestedWindow: { start: "soon", end: "later" } },
      { suggestedWindow: { start: 1, end: 2 } },
    ]) {
      await site.pebble.setRenewalInfo(pair.chainPem, info);
      const error = await failureOf(renewalInfo(ariId!, site.options, signal));
      expect({ info, type: error.type, permanent: error.permanent }).toEqual({
        info,
        type: "malformed",
        permanent: false,
      });
    }
  });

  test("is none for a certificate that the CA does not know", async () => {
    expect(await renewalInfo("AAAA.BBBB", site.options, signal)).toBeUndefined();
  });
});

describe.skipIf(lacksPart("pebble"))("Renewal information of a CA that has none", () => {
  test("is none", async () => {
    await using site = await startSite();
    expect(await renewalInfo("AAAA.BBBB", site.options, signal)).toBeUndefined();
  });
});

describe("Renewal information", () => {
  /** A CA that has this to say of every certificate. */
  function startAri(answer: () => Response) {
    const https = makeCertificate();
    const server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      tls: { cert: https.chainPem, key: https.keyPem },
      fetch(request) {
        if (!new URL(request.url).pathname.endsWith("/dir")) return answer();
        const url = (path: string) => new URL(path, request.url).href;
        return Response.json({
          newNonce: url("/nonce"),
          newAccount: url("/account"),
          newOrder: url("/order"),
          renewalInfo: url("/ari/"),
        });
      },
    });
    return {
      options: {
        clock: systemClock,
        log: silentLog,
        directoryUrl: `https://127.0.0.1:${server.port}/dir`,
        caPem: https.chainPem,
      },
      [Symbol.asyncDispose]: () => server.stop(true),
    };
  }

  test("is asked for again after between a minute and a day, whatever the CA says", async () => {
    const suggestedWindow = { start: "2027-01-01T00:00:00Z", end: "2027-01-02T00:00:00Z" };
    const asked: [string | undefined, number][] = [
      ["0", 60_000],
      ["1", 60_000],
      ["90", 90_000],
      ["604800", DAY],
      ["99999999999999", 6 * HOUR],
      ["soon", 6 * HOUR],
      [undefined, 6 * HOUR],
      [new Date(Date.now() + 2 * HOUR).toUTCString(), 2 * HOUR],
      [new Date(Date.now() - 2 * HOUR).toUTCString(), 6 * HOUR],
    ];
    let header: string | undefined;
    await using ca = startAri(() =>
      Response.json({ suggestedWindow }, header === undefined ? {} : { headers: { "retry-after": header } }),
    );
    for (const [text, expected] of asked) {
      header = text;
      const info = await renewalInfo("a.b", ca.options, signal);
      const off = info!.retryAt - Date.now() - expected;
      expect({ text, near: Math.abs(off) < 5_000 }).toEqual({ text, near: true });
    }
  });

  test("that is refused for a while says until when", async () => {
    await using ca = startAri(() => new Response("busy", { status: 503, headers: { "retry-after": "600" } }));
    const error = await failureOf(renewalInfo("a.b", ca.options, signal));
    expect(error).toMatchObject({ name: "AcmeError", type: "http503" });
    expect(error.retryAtMs! - Date.now()).toBeWithin(590_000, 600_001);
  });

  test("points to no page but one on the web", async () => {
    const suggestedWindow = { start: "2027-01-01T00:00:00Z", end: "2027-01-02T00:00:00Z" };
    for (const explanationURL of ["javascript:alert(1)", "https://u:p@ca.example/", 7, "x"]) {
      await using ca = startAri(() => Response.json({ suggestedWindow, explanationURL }));
      expect(await renewalInfo("a.b", ca.options, signal)).not.toHaveProperty("explanationUrl");
    }
  });
});
