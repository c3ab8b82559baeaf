import { X509Certificate } from "node:crypto";
import { afterEach, describe, expect, test } from "bun:test";
import { systemClock } from "../../src/base/clock.ts";
import { pinOf } from "../../src/base/pin.ts";
import { checkWorker } from "../../src/worker/check.ts";
import type { WorkerConfig } from "../../src/worker/config.ts";
import { describeFailure } from "../../src/worker/connection.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import { startTlsFront, type TlsFront } from "../support/tls-front.ts";
import { SECRET, startFakeRelay, type FakeRelay } from "./fake-relay.ts";
import { startTestWorker } from "./started-worker.ts";

const DAY_MS = 86_400_000;
const ca = makeCertificate({ names: ["Test CA"], authority: true });
const good = makeCertificate({ issuer: ca });
const caPem = ca.chainPem;
const pin = (certificate: TestCertificate) => pinOf(new X509Certificate(certificate.chainPem).raw);

/** A relay behind TLS. */
async function secured(...certificates: TestCertificate[]) {
  const relay = startFakeRelay();
  const front = await startTlsFront(Number(new URL(relay.url).port), ...certificates);
  return {
    relay,
    front,
    async [Symbol.asyncDispose]() {
      await front[Symbol.asyncDispose]();
      await relay[Symbol.asyncDispose]();
    },
  };
}

/** Starts a worker and waits for what its first dial comes to. */
async function dial(
  { relay, front }: { relay: FakeRelay; front: TlsFront },
  trust: Partial<WorkerConfig>,
): Promise<{ message: string; action: string } | "registered"> {
  await using backend = await startFakeBackend();
  await using started = startTestWorker(front, backend, trust);
  const accepted = relay.nextLink().then((link) => link.accept());
  accepted.catch(() => {});
  const event = await started.events.next(({ kind }) => kind === "registered" || kind === "failed");
  return event.kind === "failed" ? describeFailure(event.failure) : "registered";
}

const before = process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
afterEach(() => {
  if (before === undefined) delete process.env["NODE_TLS_REJECT_UNAUTHORIZED"];
  else process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = before;
});

describe("Trust in a relay", () => {
  test("comes from an authority of one's own", async () => {
    await using both = await secured(good);
    expect(await dial(both, { caPem })).toBe("registered");
    expect(both.front.received).toContain(SECRET);
  });

  test("comes from a pinned key, whatever the name and whoever signed", async () => {
    const stranger = makeCertificate({ names: ["elsewhere.example"] });
    await using both = await secured(stranger);
    expect(await dial(both, { pins: [`sha256/${"A".repeat(43)}=`, pin(stranger)] })).toBe("registered");
  });

  test("comes from a pinned key below an authority that nobody knows, without its chain", async () => {
    const [leaf = ""] = good.chainPem.split(/(?<=-----END CERTIFICATE-----\n)/);
    await using both = await secured({ ...good, chainPem: leaf });
    expect(await dial(both, { pins: [pin(good)] })).toBe("registered");
  });

  const expired = {
    notBefore: systemClock.wall() - 90 * DAY_MS,
    notAfter: systemClock.wall() - DAY_MS,
  };
  const refused: [string, TestCertificate, Partial<WorkerConfig>, RegExp, string][] = [
    [
      "an unknown authority",
      good,
      {},
      /an authority that this machine does not trust \(issued by Test CA\)/,
      "--ca-file",
    ],
    ["nobody", makeCertificate(), { caPem }, /its certificate is self-signed/, "--pin"],
    [
      "an authority for another name",
      makeCertificate({ names: ["a.example", "b.example"], issuer: ca }),
      { caPem },
      /its certificate is for a\.example, b\.example, not for 127\.0\.0\.1/,
      "an address that the certificate names",
    ],
    [
      "an authority until yesterday",
      makeCertificate({ issuer: ca, ...expired }),
      { caPem },
      /its certificate has expired on \d{4}-\d\d-\d\d \d\d:\d\d UTC \(the clock here says/,
      "Renew it",
    ],
  ];
  for (const [who, certificate, trust, message, action] of refused) {
    test(`is refused to a certificate that is vouched for by ${who}, and the secret is kept`, async () => {
      for (const setting of [undefined, "0"]) {
        if (setting !== undefined) process.env["NODE_TLS_REJECT_UNAUTHORIZED"] = setting;
        await using both = await secured(certificate);
        const outcome = await dial(both, trust);
        if (outcome === "registered") throw new Error("the relay was trusted");
        expect(outcome.message).toStartWith(`Cannot trust the relay: 127.0.0.1:${both.front.port}: `);
        expect(outcome.message).toMatch(message);
        expect(outcome.action).toContain(action);
        expect(both.front.received).toBe("");
      }
    });
  }

  test("is refused to a certificate without its intermediate, with what to serve instead", async () => {
    const intermediate = makeCertificate({ names: ["Intermediate"], authority: true, issuer: ca });
    const leaf = makeCertificate({ issuer: intermediate });
    const [alone = ""] = leaf.chainPem.split(/(?<=-----END CERTIFICATE-----\n)/);
    await using both = await secured({ ...leaf, chainPem: alone });
    expect(await dial(both, { caPem })).toMatchObject({
      message: expect.stringContaining("intermediate certificates are missing") as unknown,
      action: expect.stringContaining("fullchain.pem") as unknown,
    });
    expect(both.front.received).toBe("");
  });

  test("is refused to a man in the middle with another key, whose pin is shown", async () => {
    const middle = makeCertificate({ issuer: ca });
    await using both = await secured(middle);
    expect(await dial(both, { pins: [pin(good)] })).toMatchObject({
      message: `Cannot trust the relay: 127.0.0.1:${both.front.port}: its key has the pin ${pin(middle)}, which is not the one in --pin`,
    });
    expect(both.front.connections).toBe(1);
    expect(both.front.received).toBe("");
  });

  test("is refused to a man in the middle who shows the right key only until the secret is due", async () => {
    // Each later connection gets another key; the last certificate is even signed by the pinned one.
    const pinned = makeCertificate({ authority: true });
    for (const later of [makeCertificate(), makeCertificate({ issuer: pinned })]) {
      await using both = await secured(pinned, later);
      expect(await dial(both, { pins: [pin(pinned)] })).not.toBe("registered");
      expect(both.front.connections).toBeGreaterThan(1);
      expect(both.front.received).toBe("");
    }
  });

  test("is refused to a pinned key whose certificate has expired", async () => {
    const old = makeCertificate({ ...expired });
    await using both = await secured(old);
    const outcome = await dial(both, { pins: [pin(old)] });
    expect(outcome).toMatchObject({ message: expect.stringContaining("has expired") as unknown });
    expect(both.front.received).toBe("");
  });

  test("is refused to a port that does not speak TLS", async () => {
    await using relay = startFakeRelay();
    const url = relay.url.replace("http:", "https:");
    for (const trust of [{}, { pins: [pin(good)] }]) {
      const front = { url } as TlsFront;
      expect(await dial({ relay, front }, trust)).toMatchObject({
        message: expect.stringMatching(/does not speak TLS on this port/) as unknown,
      });
    }
    expect(relay.asked).toBe(0);
  });

  test("is judged anew at each dial, so that a relay which is put right is taken back", async () => {
    await using backend = await startFakeBackend();
    await using both = await secured(makeCertificate());
    await using started = startTestWorker(both.front, backend, { caPem });
    await started.next("failed");
    await both.front.show(good);
    await (await both.relay.nextLink()).accept();
    await started.next("registered");
    expect(started.lines.filter((line) => line.includes("self-signed"))[0]).toStartWith("warn Cannot trust");
  });
});

describe("worker --check of a relay with TLS", () => {
  async function certificateStep(front: TlsFront, trust: Partial<WorkerConfig>) {
    const results = await checkWorker(
      {
        proxyUrl: front.url,
        workerSecret: "wrong",
        // Nothing listens there: the steps after the relay are not looked at.
        backendUrl: "http://127.0.0.1:9",
        models: { all: true, names: [] },
        workerName: "test",
        maxConcurrency: 1,
        provider: "local",
        linkVersion: "v1",
        drainTimeoutMs: 1_000,
        firstByteTimeoutMs: 0,
        idleTimeoutMs: 0,
        ...trust,
      },
      { clock: systemClock },
    );
    const trusted = results.find(({ step }) => step === "certificate trusted");
    const secret = results.find(({ step }) => step === "secret accepted");
    return { trusted: trusted!, secret: secret! };
  }

  test("says until when a certificate is valid, and by what it is trusted", async () => {
    await using both = await secured(good);
    const byAuthority = await certificateStep(both.front, { caPem });
    expect(byAuthority.trusted).toMatchObject({
      ok: true,
      details: expect.stringMatching(/^trusted, valid until /) as unknown,
    });
    const byKey = await certificateStep(both.front, { pins: [pin(good)] });
    expect(byKey.trusted.details).toStartWith(`trusted by its key ${pin(good)}, valid until `);
    for (const { secret } of [byAuthority, byKey]) {
      expect(secret).toMatchObject({ ok: false, details: "The relay refused the worker secret (HTTP 401)" });
    }
  });

  test("says which rule a certificate breaks, and sends no secret", async () => {
    await using both = await secured(good);
    const { trusted, secret } = await certificateStep(both.front, {});
    expect(trusted).toMatchObject({
      ok: false,
      details: expect.stringContaining("does not trust (issued by Test CA)") as unknown,
      action: expect.stringContaining("--ca-file") as unknown,
    });
    expect(secret.ok).toBeUndefined();
    expect(both.front.received).toBe("");
  });
});
