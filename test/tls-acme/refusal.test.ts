import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import type { AcmeError } from "../../src/tls/acme/error.ts";
import type { AcmeOptions } from "../../src/tls/acme/types.ts";
import type { CertificateStore } from "../../src/tls/store/store.ts";
import { lacksPart } from "../support/parts.ts";
import { problem, startFront, type PebbleFront } from "../support/pebble-front.ts";
import {
  failureOf,
  makeStore,
  neverAborted as signal,
  startSite,
  type Site,
  type TestStore,
} from "../support/pebble-site.ts";

function failure(names: string[], store: CertificateStore, options: AcmeOptions): Promise<AcmeError> {
  return failureOf(issueCertificate(names, store, options, { signal }));
}

describe.skipIf(lacksPart("pebble"))("A refused order says", () => {
  let site: Site;
  let front: PebbleFront;
  let options: AcmeOptions;
  let kept: TestStore;
  beforeAll(async () => {
    site = await startSite({ blocked: ["blocked.example"] });
    kept = makeStore();
    site.answerFrom(kept.store);
  });
  afterAll(async () => {
    kept[Symbol.dispose]();
    await site[Symbol.asyncDispose]();
  });
  const throughFront = async (run: () => Promise<void>) => {
    await using opened = startFront(site.pebble);
    front = opened;
    options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    await run();
  };

  test("that another server answers for the name, and at which address", async () => {
    using elsewhere = makeStore();
    site.answerFrom(elsewhere.store);
    const error = await failure(["away.example"], kept.store, site.options);
    site.answerFrom(kept.store);
    expect(error).toMatchObject({ name: "AcmeError", type: "unauthorized", permanent: false });
    expect(error.message).toStartWith(
      "Cannot get a certificate for away.example: what answers on port 80 of away.example",
    );
    expect(error.message).toContain('the CA says: "');
    expect(error.action).toStartWith("Point the A and AAAA records of away.example to this machine alone");
    expect(await kept.store.pendingOrder("away.example")).toBeUndefined();
  });

  test("that port 80 cannot be reached, and the same order succeeds once it can", async () => {
    await site.pebble.dns.address("closed.example", "127.0.0.2");
    const error = await failure(["closed.example"], kept.store, site.options);
    await site.pebble.dns.clear("closed.example");
    expect(error).toMatchObject({ type: "connection", permanent: false });
    expect(error.message).toContain("the CA could not connect to port 80 of closed.example");
    expect(error.action).toContain("Open TCP port 80");
    expect(
      (await issueCertificate(["closed.example"], kept.store, site.options, { signal })).keyPem,
    ).toContain("PRIVATE KEY");
  });

  test("that the name does not resolve", async () => {
    await site.pebble.dns.forget("nowhere.example");
    const error = await failure(["nowhere.example"], kept.store, site.options);
    // Pebble calls it a failed connection, and says in its words what it was.
    expect(error.type).toBe("connection");
    expect(error.message).toMatch(/nowhere\.example.*(resolv|lookup|SERVFAIL)/i);
  });

  test("which of several names failed, and why", async () => {
    await site.pebble.dns.address("shut.example", "127.0.0.2");
    const error = await failure(["fine.example", "shut.example"], kept.store, site.options);
    expect(error.message).toContain(
      "for fine.example, shut.example: the CA could not connect to port 80 of shut.example",
    );
    expect(error.message).not.toContain("port 80 of fine.example");
  });

  test("that the CA does not issue for the name, and does not try again soon", async () => {
    const error = await failure(["blocked.example"], kept.store, site.options);
    expect(error).toMatchObject({ type: "rejectedIdentifier", permanent: true });
    expect(error.message).toContain("the CA does not issue for blocked.example");
    expect(await kept.store.pendingOrder("blocked.example")).toBeUndefined();
  });

  test("which CAA record to add", () =>
    throughFront(async () => {
      front.rewrite(/\/dir$/, (body) =>
        JSON.stringify({ ...JSON.parse(body), meta: { caaIdentities: ["ca.example"] } }),
      );
      front.fail({
        path: /finalize/,
        status: 403,
        body: problem("caa", "CAA record for caa.example prevents issuance", {
          identifier: { type: "dns", value: "caa.example" },
        }),
      });
      const error = await failure(["caa.example"], kept.store, options);
      expect(error).toMatchObject({ type: "caa", permanent: true });
      expect(error.action).toBe(
        `Add this record to the domain's DNS: caa.example. IN CAA 0 issue "ca.example"`,
      );
    }));

  test("when the rate limit lifts: in the header, or in the CA's words", () =>
    throughFront(async () => {
      const before = Date.now();
      front.fail({
        path: /order-plz/,
        status: 429,
        headers: { "retry-after": "3600" },
        body: problem("rateLimited", "too many new orders"),
        times: 1,
      });
      const inHeader = await failure(["limit.example"], kept.store, options);
      expect(inHeader).toMatchObject({ type: "rateLimited", permanent: false });
      expect(inHeader.retryAtMs! - before).toBeWithin(3_600_000, 3_620_000);
      expect(inHeader.message).toMatch(
        /rate limit is reached, until 20\d\d-\d\d-\d\d \d\d:\d\d UTC; the CA says: "too many/,
      );

      const day = new Date(before + 86_400_000).toISOString().slice(0, 19).replace("T", " ");
      front.fail({
        path: /order-plz/,
        status: 429,
        body: problem(
          "rateLimited",
          `too many certificates (5) already issued, retry after ${day} UTC: see https://ca.example/`,
        ),
        times: 1,
      });
      const inText = await failure(["limit.example"], kept.store, options);
      expect(inText.retryAtMs).toBe(Date.parse(`${day.replace(" ", "T")}Z`));
      expect(await kept.store.pendingOrder("limit.example")).toBeUndefined();
    }));

  test("that the CA is down for maintenance, and until when; at no point does it wait for that", () =>
    throughFront(async () => {
      const points = [/\/dir$/, /nonce/, /sign-me-up/, /order-plz/, /authZ/, /chalZ/, /finalize/, /certZ/];
      for (const path of points) {
        using fresh = makeStore();
        site.answerFrom(fresh.store);
        const begun = performance.now();
        front.fail({
          path,
          status: 503,
          headers: { "retry-after": "7200" },
          body: "<h1>Down</h1> for maintenance",
          times: 1,
        });
        const error = await failure(["down.example"], fresh.store, options);
        expect({ path: String(path), type: error.type }).toEqual({ path: String(path), type: "http503" });
        expect(error.message).toContain("down for maintenance, or overloaded (HTTP 503), until ");
        // HEAD, which brings a nonce, has no body.
        if (path.source !== "nonce") expect(error.message).toContain('"Down for maintenance"');
        expect(error.retryAtMs! - Date.now()).toBeWithin(7_100_000, 7_200_001);
        expect(performance.now() - begun).toBeLessThan(5_000);
        const orders = site.pebble.orderCount();
        await issueCertificate(["down.example"], fresh.store, options, { signal });
        // What had been ordered before the CA went down is finished.
        const hadOrder = /authZ|chalZ|finalize|certZ/.test(String(path));
        expect({ path: String(path), more: site.pebble.orderCount() - orders }).toEqual({
          path: String(path),
          more: hadOrder ? 0 : 1,
        });
      }
      site.answerFrom(kept.store);
    }));

  test("all that is wrong with several names (RFC 8555 §6.7.1), on one line", () =>
    throughFront(async () => {
      const sub = (type: string, detail: string, value: string) =>
        problem(type, detail, { identifier: { type: "dns", value } });
      front.fail({
        path: /order-plz/,
        status: 403,
        body: problem("malformed", "Some of the identifiers requested were rejected", {
          subproblems: [
            sub("malformed", "Invalid underscore in\nDNS name \u001b[31m", "a.example"),
            sub("rejectedIdentifier", "This CA will not issue for it", "b.example"),
          ],
        }),
        times: 1,
      });
      const error = await failure(["a.example", "b.example"], kept.store, options);
      expect(error).toMatchObject({ type: "compound", permanent: true });
      expect(error.message).toMatch(
        /Invalid underscore.*the CA does not issue for b\.example.*"This CA will not/,
      );
      // eslint-disable-next-line no-control-regex
      expect(error.message).not.toMatch(/[\u0000-\u001f]/);
    }));

  test("what it does not know in the CA's own words", () =>
    throughFront(async () => {
      front.fail({ path: /order-plz/, status: 418, body: problem("teapot", "short and stout"), times: 1 });
      const error = await failure(["tea.example"], kept.store, options);
      expect(error.message).toBe(
        'Cannot get a certificate for tea.example: the CA refused it (teapot); the CA says: "short and stout"',
      );
    }));
});
