import { describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../src/base/clock.ts";
import { startCheckedRelay } from "../support/checked-relay.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import { DOMAIN, look } from "./looked-at.ts";

const DAY_MS = 86_400_000;
const ca = makeCertificate({ names: ["Test CA"], authority: true });
const intermediate = makeCertificate({ names: ["Test Intermediate"], authority: true, issuer: ca });
const good = makeCertificate({ names: [DOMAIN], issuer: intermediate });
const caPem = ca.chainPem;

async function lookAt(certificate: TestCertificate, chainPem = certificate.chainPem) {
  await using relay = startCheckedRelay({ certificate, chainPem });
  return await look({ https: relay.port }, { caPem });
}

describe("Certificate of a domain", () => {
  test("is said to be good with its issuer, names and days", async () => {
    const findings = await lookAt(good);
    expect(findings.one("chain trusted")).toMatchObject({
      ok: true,
      details: expect.stringContaining("issued by Test Intermediate") as unknown,
    });
    expect(findings.one("name matches")).toMatchObject({
      ok: true,
      details: `the certificate is for ${DOMAIN}`,
    });
    expect(findings.one("days left")).toMatchObject({
      ok: true,
      details: expect.stringMatching(/^89 days, until \d{4}-\d\d-\d\d$/) as unknown,
    });
    expect(findings.one("protocols")).toMatchObject({ ok: true, details: "TLS 1.2, TLS 1.3, HTTP/1.1" });
  });

  test("that comes without its intermediate is answered with fullchain.pem", async () => {
    const [leaf = ""] = good.chainPem.split(/(?<=-----END CERTIFICATE-----\n)/);
    const findings = await lookAt(good, leaf);
    const { ok, details, action } = findings.one("chain trusted");
    expect({ ok, details }).toEqual({
      ok: false,
      details:
        "nothing connects its certificate (issued by Test Intermediate) with an authority that this machine trusts: intermediate certificates are missing",
    });
    expect(action).toContain("fullchain.pem");
    expect(findings.one("name matches").ok).toBe(true);
    expect(findings.one("days left").ok).toBe(true);
    expect(findings.one("models over https").ok).toBe(true);
  });

  test("of an unknown authority names the authority", async () => {
    const other = makeCertificate({ names: ["Somebody's CA"], authority: true });
    const { ok, details } = (await lookAt(makeCertificate({ names: [DOMAIN], issuer: other }))).one(
      "chain trusted",
    );
    expect({ ok, details }).toEqual({
      ok: false,
      details:
        "its certificate comes from an authority that this machine does not trust (issued by Somebody's CA)",
    });
  });

  test("that is self-signed is answered with an authority or a pin", async () => {
    const { ok, details, action } = (await lookAt(makeCertificate({ names: [DOMAIN] }))).one("chain trusted");
    expect({ ok, details }).toEqual({
      ok: false,
      details: "its certificate is self-signed, so that no authority vouches for it",
    });
    expect(action).toContain(`--domain ${DOMAIN}`);
    expect(action).toContain("--pin sha256/");
  });

  test("for other names lists them", async () => {
    const findings = await lookAt(
      makeCertificate({ names: ["old.example.com", "www.example.com"], issuer: ca }),
    );
    expect(findings.one("chain trusted").ok).toBe(true);
    expect(findings.one("name matches")).toMatchObject({
      ok: false,
      details: `its certificate is for old.example.com, www.example.com, not for ${DOMAIN}`,
    });
  });

  test("that has expired says since when, and what the clock here says", async () => {
    const now = systemClock.wall();
    const expired = makeCertificate({
      names: [DOMAIN],
      issuer: ca,
      notBefore: now - 90 * DAY_MS,
      notAfter: now - DAY_MS,
    });
    const findings = await lookAt(expired);
    expect(findings.one("chain trusted")).toMatchObject({
      ok: undefined,
      details: expect.stringContaining("out of date") as unknown,
    });
    expect(findings.one("name matches").ok).toBe(true);
    const { ok, details } = findings.one("days left");
    expect(ok).toBe(false);
    expect(details).toContain(
      `its certificate has expired on ${new Date(now - DAY_MS).toISOString().slice(0, 10)}`,
    );
    expect(details).toContain("the clock here says");
  });

  test("that is not valid yet says from when on", async () => {
    const now = systemClock.wall();
    const early = makeCertificate({
      names: [DOMAIN],
      issuer: ca,
      notBefore: now + 2 * DAY_MS,
      notAfter: now + 90 * DAY_MS,
    });
    expect((await lookAt(early)).one("days left")).toMatchObject({
      ok: false,
      details: expect.stringContaining("only from") as unknown,
    });
  });

  test("whose renewal is overdue fails while it is still valid", async () => {
    const now = systemClock.wall();
    const late = makeCertificate({
      names: [DOMAIN],
      issuer: ca,
      notBefore: now - 80 * DAY_MS,
      notAfter: now + 10 * DAY_MS,
    });
    expect((await lookAt(late)).one("days left")).toMatchObject({
      ok: false,
      details: expect.stringContaining("should have been renewed") as unknown,
    });
  });

  test("below an expired intermediate blames the intermediate", async () => {
    const now = systemClock.wall();
    const stale = makeCertificate({
      names: ["Stale Intermediate"],
      authority: true,
      issuer: ca,
      notBefore: now - 90 * DAY_MS,
      notAfter: now - DAY_MS,
    });
    const findings = await lookAt(makeCertificate({ names: [DOMAIN], issuer: stale }));
    expect(findings.one("chain trusted")).toMatchObject({
      ok: false,
      details: expect.stringContaining("a certificate above it has expired: Stale Intermediate") as unknown,
    });
    expect(findings.one("days left").ok).toBe(true);
  });

  test("of a second address is judged by itself if it is another one", async () => {
    await using relay = startCheckedRelay({ certificate: good });
    const stranger = makeCertificate({ names: ["stranger.example"], issuer: ca });
    // The same port at another address of this machine.
    await using other = {
      server: Bun.serve({
        hostname: "127.0.0.2",
        port: relay.port,
        tls: { cert: stranger.chainPem, key: stranger.keyPem },
        fetch: () => new Response("another site"),
      }),
      [Symbol.asyncDispose]() {
        return this.server.stop(true);
      },
    };
    const lookup = () => Promise.resolve(["127.0.0.1", other.server.hostname!]);
    const findings = await look({ https: relay.port }, { caPem, lookup });
    expect(findings.of("name matches").map(({ target, ok }) => [target, ok])).toEqual([
      [`127.0.0.1:${relay.port}`, true],
      [`127.0.0.2:${relay.port}`, false],
    ]);
  });
});

describe("Handshake with a domain", () => {
  test("at a port with plain HTTP says so, and skips what needs it", async () => {
    await using relay = startCheckedRelay();
    const findings = await look({ https: relay.port });
    expect(findings.one("port 443").ok).toBe(true);
    expect(findings.one("chain trusted")).toMatchObject({
      ok: false,
      details: "it does not speak TLS on this port; plain HTTP often answers so",
    });
    const later = findings.all.slice(findings.all.findIndex(({ step }) => step === "name matches"));
    expect(later.map(({ ok }) => ok)).toEqual(Array<undefined>(7).fill(undefined));
  });

  test("that is never answered ends at its deadline", async () => {
    const sockets: { destroy(): void }[] = [];
    const server = createServer((socket) => {
      sockets.push(socket);
      socket.on("error", () => {});
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    // A second of this clock is a hundredth of one.
    const clock = {
      ...systemClock,
      after: (ms: number, fire: () => void) => systemClock.after(ms / 100, fire),
    };
    const findings = await look({ https: port }, { clock });
    expect(findings.one("port 80")).toMatchObject({ ok: false, details: "no answer within 10 s" });
    expect(findings.one("port 443").ok).toBe(true);
    expect(findings.one("chain trusted")).toMatchObject({
      ok: false,
      details: "the TLS handshake failed: no answer within 10 s",
    });
    for (const socket of sockets) socket.destroy();
    await new Promise((resolve) => server.close(resolve));
  });
});
