import { describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { issueCertificate } from "../../src/tls/acme/issue.ts";
import { makeCertificate } from "../support/certificates.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { lacksPart } from "../support/parts.ts";
import { startFront } from "../support/pebble-front.ts";
import { failureOf, makeStore, neverAborted as signal, startSite } from "../support/pebble-site.ts";

const plain = { clock: systemClock, log: silentLog };

/** Takes connections and says nothing. */
function startSilent() {
  const opened = Promise.withResolvers<void>();
  const listener = Bun.listen({
    hostname: "127.0.0.1",
    port: 0,
    socket: { open: () => opened.resolve(), data() {} },
  });
  return {
    directoryUrl: `https://127.0.0.1:${listener.port}/dir`,
    opened: opened.promise,
    [Symbol.dispose]: () => listener.stop(true),
  };
}

/** An HTTPS server that answers everything alike. */
function startAnswering(answer: () => Response, certificate = makeCertificate()) {
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: certificate.chainPem, key: certificate.keyPem },
    fetch: answer,
  });
  return {
    directoryUrl: `https://127.0.0.1:${server.port}/dir`,
    caPem: certificate.chainPem,
    [Symbol.asyncDispose]: () => server.stop(true),
  };
}

describe("A CA", () => {
  test("that cannot be reached is told with its address and the reason", async () => {
    using kept = makeStore();
    using silent = startSilent();
    silent[Symbol.dispose]();
    const { host } = new URL(silent.directoryUrl);
    const refused = issueCertificate(
      ["a.example"],
      kept.store,
      { ...plain, directoryUrl: silent.directoryUrl },
      { signal },
    );
    expect(await failureOf(refused)).toMatchObject({
      name: "AcmeError",
      type: "unreachable",
      permanent: false,
      message: `Cannot reach the CA at ${host}: the connection was refused`,
    });
    const unknown = { ...plain, directoryUrl: "https://ca.invalid/dir" };
    expect(await failureOf(issueCertificate(["a.example"], kept.store, unknown, { signal }))).toMatchObject({
      type: "unreachable",
      message: "Cannot reach the CA at ca.invalid: its name could not be looked up",
    });
  });

  test("that never answers is given up on after half a minute", async () => {
    using kept = makeStore();
    using silent = startSilent();
    const clock = new ManualClock();
    const options = { ...plain, clock, directoryUrl: silent.directoryUrl };
    const failed = failureOf(issueCertificate(["a.example"], kept.store, options, { signal }));
    await silent.opened;
    expect(clock.pending).toEqual([30_000]);
    clock.advance(30_000);
    expect(await failed).toMatchObject({
      type: "timeout",
      message: expect.stringContaining("no answer after 30 s"),
    });
    expect(clock.pending).toEqual([]);
  });

  test("that never answers keeps nobody from stopping", async () => {
    using kept = makeStore();
    using silent = startSilent();
    const stop = new AbortController();
    const options = { ...plain, directoryUrl: silent.directoryUrl };
    const failed = failureOf(issueCertificate(["a.example"], kept.store, options, { signal: stop.signal }));
    await silent.opened;
    const begun = performance.now();
    stop.abort(new Error("the relay is stopping"));
    expect((await failed).message).toBe("the relay is stopping");
    expect(performance.now() - begun).toBeLessThan(1_000);
  });

  test("that nobody vouches for is not talked to, whichever certificates are trusted", async () => {
    using kept = makeStore();
    await using ca = startAnswering(() => new Response("{}"));
    for (const caPem of [undefined, makeCertificate().chainPem]) {
      const options = { ...plain, directoryUrl: ca.directoryUrl, ...(caPem !== undefined && { caPem }) };
      expect(await failureOf(issueCertificate(["a.example"], kept.store, options, { signal }))).toMatchObject(
        {
          type: "untrusted",
          message: expect.stringMatching(/^Cannot trust the CA at 127\.0\.0\.1:\d+: its certificate/),
          action: expect.stringContaining("--acme-ca-file"),
        },
      );
    }
    const garbage = { ...plain, directoryUrl: ca.directoryUrl, caPem: "no certificate" };
    expect(
      (await failureOf(issueCertificate(["a.example"], kept.store, garbage, { signal }))).action,
    ).toContain("--acme-ca-file");
  });

  test("is verified whatever the environment says", async () => {
    using kept = makeStore();
    await using ca = startAnswering(() => new Response("{}"));
    process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = "0";
    try {
      const options = { ...plain, directoryUrl: ca.directoryUrl };
      const failed = failureOf(issueCertificate(["a.example"], kept.store, options, { signal }));
      expect(await failed).toMatchObject({ type: "untrusted" });
    } finally {
      delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
    }
  });

  test("that has a certificate for another name is not talked to", async () => {
    using kept = makeStore();
    await using ca = startAnswering(() => new Response("{}"), makeCertificate({ names: ["ca.example"] }));
    const { directoryUrl, caPem } = ca;
    const failed = failureOf(
      issueCertificate(["a.example"], kept.store, { ...plain, directoryUrl, caPem }, { signal }),
    );
    expect(await failed).toMatchObject({ type: "untrusted" });
  });

  test("that is none is recognised, and its address shown", async () => {
    using kept = makeStore();
    const pages = [
      () => new Response("<html>Welcome to nginx!</html>", { headers: { "content-type": "text/html" } }),
      () => Response.json({ newNonce: 1 }),
      () => new Response("gone", { status: 404 }),
    ];
    for (const page of pages) {
      await using ca = startAnswering(page);
      const { directoryUrl, caPem } = ca;
      const failed = issueCertificate(
        ["a.example"],
        kept.store,
        { ...plain, directoryUrl, caPem },
        { signal },
      );
      expect(await failureOf(failed)).toMatchObject({
        type: "notAcme",
        message: expect.stringContaining(`Cannot use the CA at ${directoryUrl}: it answers with HTTP`),
      });
    }
    const http = { ...plain, directoryUrl: "http://ca.example/dir" };
    expect(await failureOf(issueCertificate(["a.example"], kept.store, http, { signal }))).toMatchObject({
      type: "notAcme",
      permanent: true,
    });
  });

  test("that answers without end is cut off", async () => {
    using kept = makeStore();
    const chunk = new Uint8Array(64 * 1024).fill(0x20);
    await using ca = startAnswering(
      () => new Response(new ReadableStream({ pull: (controller) => controller.enqueue(chunk) })),
    );
    const { directoryUrl, caPem } = ca;
    const failed = issueCertificate(["a.example"], kept.store, { ...plain, directoryUrl, caPem }, { signal });
    expect((await failureOf(failed)).message).toContain("longer than 1 MiB");
  });
});

describe.skipIf(lacksPart("pebble"))("An order", () => {
  test("can be stopped while the CA looks at the name, and is finished later", async () => {
    using kept = makeStore();
    await using site = await startSite();
    site.answerFrom(kept.store);
    await using front = startFront(site.pebble);
    const stop = new AbortController();
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    const looked = Promise.withResolvers<void>();
    let slow = true;
    front.rewrite(/authZ/, (body) => {
      if (!slow) return body;
      looked.resolve();
      return body.replaceAll('"valid"', '"pending"');
    });
    const failed = failureOf(
      issueCertificate(["slow.example"], kept.store, options, { signal: stop.signal }),
    );
    await looked.promise;
    const begun = performance.now();
    stop.abort(new Error("the relay is stopping"));
    expect((await failed).message).toBe("the relay is stopping");
    expect(performance.now() - begun).toBeLessThan(1_000);
    const pending = await kept.store.pendingOrder("slow.example");
    slow = false;
    const pair = await issueCertificate(["slow.example"], kept.store, options, { signal });
    expect({ key: pair.keyPem.trim(), orders: site.pebble.orderCount() }).toEqual({
      key: pending!.keyPem.trim(),
      orders: 1,
    });
  });

  test("whose CA goes away half-way is finished when it is back", async () => {
    using kept = makeStore();
    await using site = await startSite();
    site.answerFrom(kept.store);
    const front = startFront(site.pebble);
    const options = { ...site.options, directoryUrl: front.directoryUrl, caPem: front.caPem };
    front.fail({ path: /finalize/, status: 500, times: 1 });
    expect((await failureOf(issueCertificate(["half.example"], kept.store, options, { signal }))).type).toBe(
      "http500",
    );
    await front[Symbol.asyncDispose]();
    for (let hour = 0; hour < 3; hour++)
      expect(
        (await failureOf(issueCertificate(["half.example"], kept.store, options, { signal }))).type,
      ).toBe("unreachable");
    expect(await kept.store.pendingOrder("half.example")).toBeDefined();
    await using back = startFront(site.pebble, front.address);
    expect(back.directoryUrl).toBe(options.directoryUrl);
    await issueCertificate(["half.example"], kept.store, options, { signal });
    expect(site.pebble.orderCount()).toBe(1);
  });

  test("of two processes on one store under the domain's lock is one", async () => {
    using kept = makeStore();
    await using site = await startSite();
    site.answerFrom(kept.store);
    const take = async () => {
      await using lock = await kept.store.lock("shared.example", signal);
      // The second look: another may have done it meanwhile.
      const there = await kept.store.certificate("shared.example");
      // Waited for here, where the lock is still held.
      return (
        there ?? (await issueCertificate(["shared.example"], kept.store, site.options, { signal: lock.lost }))
      );
    };
    const [one, two] = await Promise.all([take(), take()]);
    expect(one).toEqual(two);
    expect(site.pebble.orderCount()).toBe(1);
  });
});
