import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { caddyConfig } from "../../src/tls/proxies/caddy.ts";
import type { ProxyConfigOptions } from "../../src/tls/proxies/facts.ts";
import { haproxyConfig } from "../../src/tls/proxies/haproxy.ts";
import { nginxConfig } from "../../src/tls/proxies/nginx.ts";
import { runProgram } from "../e2e/program.ts";
import { caddyEnv, OWN_CERTIFICATE } from "../support/caddy.ts";
import { nginxMain } from "../support/nginx.ts";
import { lacksPart, requirePart } from "../support/parts.ts";
import { substitute } from "../support/proxy-process.ts";
import { makeAuthority, type Authority } from "./authority.ts";
import { CADDY, HAPROXY, NGINX } from "./rig.ts";

const EXAMPLE: ProxyConfigOptions = { domains: ["relay.example.com"] };
const CONFIGS = [
  { kind: NGINX, config: nginxConfig },
  { kind: CADDY, config: caddyConfig },
  { kind: HAPROXY, config: haproxyConfig },
];

describe("The files in examples/", () => {
  for (const { kind, config } of CONFIGS) {
    // To write them anew, give the text that is expected here to the file.
    test(`for ${kind.name} is what is printed for relay.example.com`, async () => {
      expect(await kind.example()).toBe(config(EXAMPLE));
    });
  }
});

describe("A proxy's configuration", () => {
  for (const { kind, config } of CONFIGS) {
    test(`for ${kind.name} names every domain and the relay's address`, () => {
      const text = config({
        domains: ["a.example.com", "b.example.com"],
        upstream: { host: "10.0.0.5", port: 9000 },
      });
      expect(text).toContain(`modelrelay tls ${kind.name} --domain a.example.com --domain b.example.com`);
      if (kind.name !== "haproxy") expect(text).toMatch(/a\.example\.com,? b\.example\.com[ ;{]/);
      expect(text).toContain("10.0.0.5:9000");
      expect(text).not.toContain("relay.example.com");
      expect(text).not.toContain("127.0.0.1:8080");
    });

    test(`for ${kind.name} reaches a relay that listens everywhere over loopback`, () => {
      expect(config({ ...EXAMPLE, upstream: { host: "0.0.0.0", port: 1 } })).toContain("127.0.0.1:1");
      expect(config({ ...EXAMPLE, upstream: { host: "::", port: 1 } })).toContain("[::1]:1");
    });

    for (const domain of ["a.example.com;", "a b{", 'a"', "a\nb", "$host", "a`"]) {
      test(`for ${kind.name} has no room for ${JSON.stringify(domain)}`, () => {
        expect(() => config({ domains: [domain] })).toThrow("Cannot write the domain");
        expect(() => config({ ...EXAMPLE, certFile: domain, bundleFile: domain })).toThrow(
          "Cannot write the path",
        );
      });
    }
  }

  for (const { kind, config } of [CONFIGS[0]!, CONFIGS[2]!]) {
    test(`for ${kind.name} waits a minute longer than the relay, and a day for one without a limit`, () => {
      expect(config({ ...EXAMPLE, requestTimeoutMs: 900_500 })).toContain(" 961s");
      const unlimited = config({ ...EXAMPLE, requestTimeoutMs: 0 });
      expect([...unlimited.matchAll(/\b\d{3,}s\b/g)].map(String)).not.toContain("60s");
      expect(unlimited).toContain("86400s");
      expect(unlimited).not.toContain("360s");
    });
  }

  test("for nginx puts a path with a space in quotes", () => {
    expect(nginxConfig({ ...EXAMPLE, certFile: "/my certs/a.pem" })).toContain(
      'ssl_certificate "/my certs/a.pem";',
    );
  });

  test("for Caddy uses certificate files where there are some", () => {
    const text = caddyConfig({ ...EXAMPLE, certFile: "/c.pem", keyFile: "/k.pem" });
    expect(text).toContain("\n\ttls /c.pem /k.pem\n");
  });
});

describe("The untouched files in examples/ pass the check of", () => {
  let authority: Authority;
  let dir: string;
  beforeAll(() => {
    authority = makeAuthority();
    dir = mkdtempSync(join(tmpdir(), "modelrelay-proxy-config-"));
  });
  afterAll(() => {
    authority[Symbol.dispose]();
    rmSync(dir, { recursive: true, force: true });
  });

  async function save(name: string, text: string): Promise<string> {
    const file = join(dir, name);
    await Bun.write(file, text);
    return file;
  }

  test.skipIf(lacksPart("nginx"))("nginx -t, without a warning", async () => {
    const site = substitute(await NGINX.example(), [
      ["/etc/letsencrypt/live/relay.example.com/fullchain.pem", authority.certificate.chain],
      ["/etc/letsencrypt/live/relay.example.com/privkey.pem", authority.certificate.key],
    ]);
    const file = await save("nginx.conf", nginxMain(dir, site));
    const done = await runProgram([requirePart("nginx"), "-t", "-c", file, "-e", "stderr"]);
    expect(done.stderr).toContain("syntax is ok");
    // Only root may have ports 80 and 443, which comes after the syntax. A newer nginx prefers "http2 on;".
    const complaints = done.stderr.split("\n").filter((line) => /\[(warn|error|emerg)\]/.test(line));
    expect(complaints.filter((line) => !/Permission denied|"listen ... http2"/.test(line))).toEqual([]);
  });

  test.skipIf(lacksPart("caddy"))("caddy validate, with its own certificate and with others'", async () => {
    const own = await CADDY.example();
    const { chain, key } = authority.certificate;
    for (const text of [own, substitute(own, [[OWN_CERTIFICATE, `tls ${chain} ${key}`]])]) {
      const file = await save("Caddyfile", text);
      const done = await runProgram(
        [requirePart("caddy"), "validate", "--config", file, "--adapter", "caddyfile"],
        { env: caddyEnv(dir) },
      );
      expect(done).toMatchObject({ code: 0, stdout: "Valid configuration\n" });
      expect(done.stderr).not.toContain("not formatted");
    }
  });

  test.skipIf(lacksPart("haproxy"))("haproxy -c, without a warning", async () => {
    const file = await save(
      "haproxy.cfg",
      substitute(await HAPROXY.example(), [
        ["/etc/haproxy/certs/relay.example.com.pem", authority.certificate.bundle],
      ]),
    );
    const done = await runProgram([requirePart("haproxy"), "-c", "-f", file]);
    expect(done).toMatchObject({ code: 0, stderr: "" });
  });
});
