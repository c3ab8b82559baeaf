import { describe, expect, test } from "bun:test";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:tls";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { messageOf } from "../../src/base/errors.ts";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { pinOf } from "../../src/base/pin.ts";
import { checkPair, type KeyPair } from "../../src/tls/certificate.ts";
import { machineNames, renewSelfSigned, selfSignedPair } from "../../src/tls/self-signed.ts";
import { keepSelfSigned, SELF_SIGNED } from "../../src/tls/self-signed-source.ts";
import { openStore } from "../../src/tls/store/store.ts";

const DAY = 86_400_000;
const NAMES = ["localhost", "relay.lan", "127.0.0.1", "::1", "fd00::12"];

/** A server with the pair, and a file with its certificate. */
function serve(pair: KeyPair) {
  const dir = mkdtempSync(join(tmpdir(), "self-signed-"));
  const file = join(dir, "relay.crt");
  writeFileSync(file, pair.chainPem);
  const server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    tls: { cert: pair.chainPem, key: pair.keyPem },
    fetch: (request, self) => (self.upgrade(request) ? undefined : new Response("served")),
    websocket: { open: (socket) => void socket.send("linked"), message() {} },
  });
  return {
    file,
    port: server.port ?? 0,
    async [Symbol.asyncDispose]() {
      await server.stop(true);
      rmSync(dir, { recursive: true });
    },
  };
}

async function run(...command: string[]): Promise<{ code: number; output: string }> {
  const child = Bun.spawn(command, { stdout: "pipe", stderr: "pipe" });
  const [out, err] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code: await child.exited, output: (out + err).trim() };
}

describe("A self-signed certificate", () => {
  const pair = selfSignedPair({ names: NAMES, nowMs: Date.now() });

  test("passes as a pair of its own names, valid for 800 days and from a day ago", () => {
    const now = Date.now();
    const facts = checkPair(selfSignedPair({ names: NAMES, nowMs: now }), now);
    expect(facts).toMatchObject({
      names: NAMES,
      selfSigned: true,
      issuer: "modelrelay self-signed localhost",
    });
    expect(facts.notAfter).toBe(Math.floor((now + 800 * DAY) / 1_000) * 1_000);
    expect(facts.notBefore).toBe(Math.floor((now - DAY) / 1_000) * 1_000);
    // Apple refuses more.
    expect((facts.notAfter - facts.notBefore) / DAY).toBeLessThan(825);
  });

  test("is read by openssl as no CA, for servers, with every name, and passes its strict check", async () => {
    await using server = serve(pair);
    const { output } = await run("openssl", "x509", "-in", server.file, "-noout", "-text");
    expect(output).toContain("Version: 3 (0x2)");
    expect(output).toContain(
      "DNS:localhost, DNS:relay.lan, IP Address:127.0.0.1, IP Address:0:0:0:0:0:0:0:1, IP Address:FD00:0:0:0:0:0:0:12",
    );
    expect(output).toMatch(/Basic Constraints: critical\s+CA:FALSE/);
    expect(output).toContain("TLS Web Server Authentication");
    expect(output).toContain("NIST CURVE: P-256");
    const verify = await run(
      "openssl",
      "verify",
      "-x509_strict",
      "-check_ss_sig",
      "-purpose",
      "sslserver",
      "-verify_hostname",
      "relay.lan",
      "-CAfile",
      server.file,
      server.file,
    );
    expect(verify).toEqual({ code: 0, output: `${server.file}: OK` });
  });

  test("is trusted by clients that have a copy of it, for its names alone", async () => {
    await using server = serve(pair);
    for (const host of ["localhost", "127.0.0.1"]) {
      const url = `https://${host}:${server.port}/`;
      expect(await run("curl", "-sS", "--cacert", server.file, url)).toEqual({ code: 0, output: "served" });
      expect(await (await fetch(url, { tls: { ca: pair.chainPem }, keepalive: false })).text()).toBe(
        "served",
      );
    }
    const resolve = `other.lan:${server.port}:127.0.0.1`;
    const other = await run(
      "curl",
      "-sS",
      "--cacert",
      server.file,
      "--resolve",
      resolve,
      `https://other.lan:${server.port}/`,
    );
    expect(other.code).toBe(60);
    const node = `fetch("https://localhost:${server.port}/").then((r) => r.text()).then(console.log)`;
    expect(await run("env", `NODE_EXTRA_CA_CERTS=${server.file}`, "node", "-e", node)).toEqual({
      code: 0,
      output: "served",
    });
    const python = `import ssl, urllib.request
context = ssl.create_default_context(cafile=${JSON.stringify(server.file)})
context.verify_flags |= ssl.VERIFY_X509_STRICT
print(urllib.request.urlopen("https://localhost:${server.port}/", context=context).read().decode())`;
    expect(await run("python3", "-c", python)).toEqual({ code: 0, output: "served" });
  });

  test("is trusted by the WebSocket that a worker dials with, with a copy and not without", async () => {
    await using server = serve(pair);
    const dial = (tls: object) =>
      new Promise<string>((resolve) => {
        const socket = new WebSocket(`wss://localhost:${server.port}/`, { tls } as unknown as string[]);
        socket.addEventListener("message", (event) => {
          resolve(String(event.data));
          socket.close();
        });
        socket.addEventListener("error", () => resolve("refused"));
      });
    expect(await dial({ ca: pair.chainPem })).toBe("linked");
    expect(await dial({})).toBe("refused");
  });

  test("keeps its key, and so its pin, when it is renewed for other names", async () => {
    const later = Date.now() + 10 * DAY;
    const renewed = renewSelfSigned(pair, { names: ["box.lan"], nowMs: later, validDays: 30 });
    const [before, after] = [checkPair(pair, Date.now()), checkPair(renewed, later)];
    expect(renewed.keyPem).toBe(pair.keyPem);
    expect(after.pin).toBe(before.pin);
    expect(after.serial).not.toBe(before.serial);
    expect(after).toMatchObject({
      names: ["box.lan"],
      notAfter: Math.floor((later + 30 * DAY) / 1_000) * 1_000,
    });
    expect(selfSignedPair({ names: NAMES, nowMs: later }).keyPem).not.toBe(pair.keyPem);
  });

  test("has the pin that a client computes from what it is shown", async () => {
    await using server = serve(pair);
    const shown = await new Promise<Buffer>((resolve, reject) => {
      const socket = connect({ port: server.port, host: "127.0.0.1", ca: pair.chainPem }, () => {
        resolve(socket.getPeerCertificate().raw);
        socket.destroy();
      });
      socket.once("error", reject);
    });
    expect(pinOf(shown)).toBe(checkPair(pair, Date.now()).pin);
    expect(pinOf(new X509Certificate(pair.chainPem).raw)).toBe(pinOf(shown));
  });

  test("can be made while the clock stands in 1970, and for times beyond 2050", () => {
    for (const nowMs of [0, Date.UTC(2049, 11, 30), Date.UTC(2060, 1, 1)])
      expect(checkPair(selfSignedPair({ names: ["box"], nowMs }), nowMs).notBefore).toBe(nowMs - DAY);
  });

  test("is not made for nothing, or for what is no name", () => {
    const problem = (names: string[]) => {
      try {
        selfSignedPair({ names, nowMs: 0 });
        return "made";
      } catch (error) {
        return messageOf(error);
      }
    };
    expect(problem([])).toBe("Cannot make a certificate: it has no name");
    for (const name of ["", "a b", "a..b", "bücher.example", "-a", "a".repeat(64), "https://a", "a:80"])
      expect(problem(["ok", name])).toStartWith(`Cannot make a certificate for "${name}"`);
    expect(problem(["my_box", "*.lan", `${"a".repeat(63)}.lan`])).toBe("made");
  });
});

describe("A machine's names", () => {
  test("are its own, localhost, and the addresses that a URL can hold", () => {
    const interfaces = {
      lo: [{ address: "127.0.0.1", internal: true }],
      eth0: [
        { address: "192.168.1.5", internal: false },
        { address: "FD00:0::5", internal: false },
        { address: "fe80::1", internal: false },
      ],
      gone: undefined,
    };
    const addresses = ["localhost", "192.168.1.5", "fd00::5", "127.0.0.1", "::1"];
    expect(machineNames("Box", interfaces)).toEqual(["box", "box.local", ...addresses]);
    expect(machineNames("box.lan.", interfaces)).toEqual(["box.lan", "box", "box.local", ...addresses]);
    expect(machineNames("Büro PC", interfaces)).toEqual(addresses);
    expect(machineNames("localhost", {})).toEqual(["localhost", "127.0.0.1", "::1"]);
  });

  test("of this machine can stand in a certificate", () => {
    const nowMs = Date.now();
    const names = machineNames();
    expect(checkPair(selfSignedPair({ names, nowMs }), nowMs).names).toEqual(names);
  });
});

describe("Keeping a self-signed certificate", () => {
  test("makes one anew that was made before the clock was set back, with the same key", async () => {
    const dir = mkdtempSync(join(tmpdir(), "self-signed-"));
    try {
      const store = openStore(dir, systemClock);
      const future = selfSignedPair({ names: ["relay.lan"], nowMs: Date.now() + 3 * 365 * DAY });
      await store.saveCertificate(SELF_SIGNED, future);
      const parts = { names: ["relay.lan"], store, clock: systemClock, log: silentLog, onChange() {} };
      const source = await keepSelfSigned(parts);
      const { chainPem, keyPem } = source.identities()[0]!;
      await source.close();
      const facts = checkPair({ chainPem, keyPem }, Date.now());
      expect(facts.pin).toBe(pinOf(new X509Certificate(future.chainPem).raw));
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
