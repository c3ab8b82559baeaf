import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { startModelrelay } from "../e2e/program.ts";
import { ACCOUNT, makeCertbot } from "../support/certbot.ts";
import { startHaproxy } from "../support/haproxy.ts";
import { lacksPart } from "../support/parts.ts";
import { startPebble } from "../support/pebble.ts";
import { freePort } from "../support/proxy-process.ts";
import { makeAuthority, type Authority } from "./authority.ts";
import { HAPROXY, NGINX } from "./rig.ts";

/** Debian's certbot ends with "can't set attribute" where a nonce is refused; ours is tried with refusals. */
const NONCES = { nonceReject: 0 };

const NAME = "relay.example.com";
const CERTONLY = ["certonly", ...ACCOUNT, "-d", NAME];

function serialOf(pem: string): string {
  return new X509Certificate(pem).serialNumber.toLowerCase();
}

/** The serial that a client sees who trusts `rootPem` and asks for the name. */
async function servedSerial(port: number, rootPem: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, servername: NAME, ca: rootPem }, () => {
      resolve(socket.getPeerCertificate().serialNumber.toLowerCase());
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

describe.skipIf(lacksPart("certbot", "pebble", "pebbleChallengeServer"))("certbot", () => {
  let authority: Authority;
  beforeAll(() => {
    authority = makeAuthority();
  });
  afterAll(() => authority[Symbol.dispose]());

  test("by itself gets what serve reads, and renews it under a relay that runs", async () => {
    const port80 = freePort();
    await using pebble = await startPebble({ httpPort: port80, ...NONCES });
    using certbot = makeCertbot(pebble);
    const standalone = ["--standalone", "--http-01-address=127.0.0.1", `--http-01-port=${port80}`];
    await certbot.run(...CERTONLY, ...standalone);
    const { chain, key } = certbot.files(NAME);
    await using serve = startModelrelay(
      ["serve", `--tls-cert=${chain}`, `--tls-key=${key}`, "--https-port=127.0.0.1:0", "--http-port=off"],
      { env: { WORKER_SECRET: "certbot-secret" } },
    );
    const [, port] = await serve.until(/The relay listens url=https:\/\/relay\.example\.com:(\d+)/);
    const rootPem = await pebble.rootPem();
    const first = serialOf(certbot.chainPem(NAME));
    expect(await servedSerial(Number(port), rootPem)).toBe(first);

    expect(await certbot.run("renew", "--dry-run", "--no-random-sleep-on-renew")).toContain(
      "all simulated renewals succeeded",
    );
    expect(serialOf(certbot.chainPem(NAME))).toBe(first);

    await certbot.run("renew", "--force-renewal", "--no-random-sleep-on-renew");
    const second = serialOf(certbot.chainPem(NAME));
    expect(second).not.toBe(first);
    await serve.until(/A new certificate is served/);
    expect(await servedSerial(Number(port), rootPem)).toBe(second);
  }, 60_000);

  test.skipIf(lacksPart("nginx"))(
    "gets one through the folder that nginx serves challenges from",
    async () => {
      await using proxy = await NGINX.start({
        config: await NGINX.example(),
        upstreamPort: 9,
        certificate: authority.certificate,
      });
      const webroot = join(proxy.dir, "webroot");
      mkdirSync(webroot);
      await using pebble = await startPebble({ httpPort: proxy.ports[1]!, ...NONCES });
      using certbot = makeCertbot(pebble);
      await certbot.run(...CERTONLY, "--webroot", "-w", webroot);
      expect(new X509Certificate(certbot.chainPem(NAME)).subjectAltName).toBe(`DNS:${NAME}`);
    },
    60_000,
  );

  test.skipIf(lacksPart("haproxy"))(
    "gets one through HAProxy, which keeps port 80",
    async () => {
      const certbotPort = freePort();
      await using proxy = await startHaproxy(
        { config: await HAPROXY.example(), upstreamPort: 9, certificate: authority.certificate },
        certbotPort,
      );
      await using pebble = await startPebble({ httpPort: proxy.ports[1]!, ...NONCES });
      using certbot = makeCertbot(pebble);
      await certbot.run(
        ...CERTONLY,
        "--standalone",
        "--http-01-address=127.0.0.1",
        `--http-01-port=${certbotPort}`,
      );
      expect(new X509Certificate(certbot.chainPem(NAME)).subjectAltName).toBe(`DNS:${NAME}`);
    },
    60_000,
  );
});
