import { describe, expect, test } from "bun:test";
import { UsageError } from "../../src/base/errors.ts";
import { surroundings } from "../../src/commands/command.ts";
import { readConfig } from "../../src/commands/read-config.ts";
import { checkCommand, checkOptions } from "../../src/commands/tls-check.ts";
import { createPlainPort } from "../../src/server/plain-port.ts";
import { startCheckedRelay } from "../support/checked-relay.ts";
import { makeCertificate } from "../support/certificates.ts";
import { TempDir } from "./reading.ts";

const DOMAIN = "relay.example.com";
const ca = makeCertificate({ names: ["Test CA"], authority: true });
const certificate = makeCertificate({ names: [DOMAIN], issuer: ca });

async function check(...args: string[]) {
  const { config, origins } = readConfig("tls check", checkOptions, { args, around: surroundings({}) });
  let out = "";
  const code = await checkCommand.run(config, {
    terminal: {
      env: {},
      out: (text) => {
        out += text;
        return Promise.resolve();
      },
      err() {},
    },
    origins,
    args,
    reread: () => ({ changed: {}, needsRestart: [] }),
  });
  return { out, code };
}

describe("tls check", () => {
  test("ends with 0 if nothing is wrong, and with 1 and what to do if something is", async () => {
    using dir = new TempDir();
    const caFile = dir.write("ca.pem", ca.chainPem);
    await using relay = startCheckedRelay({ certificate });
    const plain = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: createPlainPort({
        challenge: () => Promise.resolve(undefined),
        httpsPort: relay.port,
        domains: [DOMAIN],
      }),
    });
    try {
      const args = [
        DOMAIN,
        "--connect=127.0.0.1",
        `--http-port=${plain.port}`,
        `--https-port=${relay.port}`,
        "--wait=100ms",
      ];
      const good = await check(...args, `--ca-file=${caFile}`);
      expect(good.out).not.toContain("FAIL");
      expect(good.out.match(/^(?:ok|skip) /gm)).toHaveLength(11);
      expect(good.code).toBe(0);

      const bad = await check(...args, "--json");
      const { domain, checks } = JSON.parse(bad.out) as {
        domain: string;
        checks: { step: string; ok: boolean | null; action?: string }[];
      };
      expect(domain).toBe(DOMAIN);
      expect(checks.filter(({ ok }) => ok === false)).toMatchObject([
        { step: "chain trusted", action: expect.stringContaining("--ca-file") as unknown },
      ]);
      expect(checks.find(({ step }) => step === "name resolves")?.ok).toBeNull();
      expect(bad.code).toBe(1);
    } finally {
      await plain.stop(true);
    }
  });

  test("wants a name", async () => {
    let thrown: unknown;
    await check().catch((error: unknown) => (thrown = error));
    expect(thrown).toBeInstanceOf(UsageError);
    expect(() =>
      readConfig("tls check", checkOptions, { args: ["no name"], around: surroundings({}) }),
    ).toThrow('Cannot use "no name" as domain');
  });

  test("takes a port behind the name, as people copy it, for that of HTTPS", () => {
    const read = (...args: string[]) => {
      const reading = readConfig("tls check", checkOptions, { args, around: surroundings({}) });
      checkCommand.check?.(reading);
      return reading.config.domain;
    };
    expect(read(DOMAIN)).toEqual({ host: DOMAIN, port: undefined });
    expect(read("https://Relay.Example.com:8443/v1/")).toEqual({ host: DOMAIN, port: 8443 });
    expect(read("192.0.2.7:8443")).toEqual({ host: "192.0.2.7", port: 8443 });
    expect(read("2001:db8::1")).toEqual({ host: "2001:db8::1", port: undefined });
    expect(read("[2001:db8::1]:8443")).toEqual({ host: "2001:db8::1", port: 8443 });
    for (const wrong of ["name:", "name:0", "name:65536", "name:1:2", "[name]:8443", ":8443", "1.2.3.4.5"]) {
      expect(() => read(wrong)).toThrow(`Cannot use "${wrong}" as domain`);
    }
    expect(() => read(`${DOMAIN}:8443`, "--https-port=443")).toThrow(
      "Cannot look at port 8443 (argument DOMAIN) and at port 443 (flag --https-port): HTTPS has one",
    );
    expect(read(`${DOMAIN}:8443`, "--https-port=8443")).toEqual({ host: DOMAIN, port: 8443 });
  });
});
