import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { makeCertificate } from "../support/certificates.ts";
import { lacksPart } from "../support/parts.ts";
import { problem, startFront } from "../support/pebble-front.ts";
import { startModelrelay } from "./program.ts";
import {
  A,
  B,
  clientOf,
  freePort,
  listening,
  modelrelay,
  serveDomains,
  shown,
  startAuthority,
  startTlsRelay,
  waitFor,
  type Authority,
} from "./tls-relay.ts";

const NO_CA = lacksPart("pebble", "pebbleChallengeServer");
const HOUR_MS = 3_600_000;

describe.skipIf(NO_CA)("The tls commands", () => {
  let authority: Authority;
  beforeAll(async () => {
    authority = await startAuthority();
  });
  afterAll(() => authority[Symbol.asyncDispose]());

  /** Settings for commands on a data directory of its own. */
  function fresh(more: Record<string, string> = {}): { env: Record<string, string>; dataDir: string } {
    const dataDir = authority.dataDir();
    return { env: { ...authority.env, MODELRELAY_DATA_DIR: dataDir, LOG_LEVEL: "warn", ...more }, dataDir };
  }

  interface Status {
    domain: string;
    serial: string;
    days_left: number;
    renew_at: string;
    next_try_at: string | null;
    last_error: { message: string; action?: string } | null;
  }

  async function statusOf(on: { env: Record<string, string> }): Promise<Status> {
    const { stdout } = await modelrelay(on, "tls", "status", "--json");
    const [first] = (JSON.parse(stdout) as { certificates: Status[] }).certificates;
    if (first === undefined) throw new Error(`no certificate: ${stdout}`);
    return first;
  }

  test("get a certificate once, renew it when told, and rehearse without leaving a trace", async () => {
    const on = fresh();
    const orders = authority.pebble.orderCount();
    const placed = () => authority.pebble.orderCount() - orders;
    expect(await modelrelay(on, "tls", "issue", "--domain", A)).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/^a\.localhost: a certificate is stored, valid until 20\S+Z\n$/),
    });
    const first = await statusOf(on);
    expect(first).toMatchObject({ domain: A, last_error: null });
    for (const command of ["issue", "renew"]) {
      const again = await modelrelay(on, "tls", command, "--domain", A);
      expect(again).toMatchObject({ code: 0, stdout: expect.stringContaining("not due") });
    }
    expect(placed()).toBe(1);
    const rehearsed = await modelrelay(on, "tls", "renew", "--dry-run");
    expect(rehearsed).toMatchObject({ code: 0, stdout: expect.stringContaining("nothing was stored") });
    expect({ placed: placed(), status: await statusOf(on) }).toEqual({ placed: 2, status: first });
    const renewed = await modelrelay(on, "tls", "renew", "--force");
    expect(renewed).toMatchObject({ code: 0, stdout: expect.stringContaining(`${A}: renewed`) });
    expect((await statusOf(on)).serial).not.toBe(first.serial);
    const text = await modelrelay(on, "tls", "status");
    expect(text.stdout).toMatch(
      /^a\.localhost\n {2}certificate {3}by Pebble [^\n]*\n {2}names {9}a\.localhost\n/,
    );
    expect(text.stdout).toMatch(/\(\d+ days left\)/);
  });

  test("revoke a certificate, after which a running relay gets another and serves it", async () => {
    await using relay = await serveDomains(authority, [A]);
    const old = await shown(relay.httpsPort, A);
    const revoked = await modelrelay(relay, "tls", "revoke", "--domain", A, "--reason", "key-compromise");
    expect(revoked).toMatchObject({ code: 0, stdout: `${A}: revoked and forgotten\n` });
    expect(await authority.pebble.status(old.serial)).toBe("Revoked");
    relay.reload();
    await waitFor("another certificate", async () => (await shown(relay.httpsPort, A)).serial !== old.serial);
    const { serial } = await shown(relay.httpsPort, A);
    expect(await authority.pebble.status(serial)).toBe("Valid");
  });

  test("import a certificate that serve then goes on with, and refuse what is none", async () => {
    const on = fresh();
    const made = makeCertificate({ names: [A] });
    const files = { cert: join(on.dataDir, "cert.pem"), key: join(on.dataDir, "key.pem") };
    writeFileSync(files.cert, made.chainPem);
    writeFileSync(files.key, made.keyPem);
    const mistaken = await modelrelay(on, "tls", "import", files.key, files.cert);
    expect(mistaken).toMatchObject({ code: 1, stderr: expect.stringMatching(/^error: Cannot .*\n {2}→ /) });
    const imported = await modelrelay(on, "tls", "import", files.cert, files.key);
    expect(imported).toMatchObject({ code: 0, stdout: expect.stringContaining(`${A}: stored`) });
    const orders = authority.pebble.orderCount();
    await using relay = await serveDomains(authority, [A], { dataDir: on.dataDir });
    expect((await shown(relay.httpsPort, A)).serial).toBe(made.serial);
    expect(authority.pebble.orderCount()).toBe(orders);
  });

  test("leave a running relay its certificate when a renewal fails, and say so everywhere", async () => {
    await using relay = await serveDomains(authority, [A]);
    const { serial } = await shown(relay.httpsPort, A);
    const down = { env: { ...relay.env, ACME_DIRECTORY: `https://127.0.0.1:${freePort()}/dir` } };
    const renewal = await modelrelay(down, "tls", "renew", "--force", "--domain", A);
    expect(renewal).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/error: Cannot reach the CA at \S+: the connection was refused\n {2}→ /),
    });
    expect(await statusOf(relay)).toMatchObject({
      serial,
      last_error: { message: expect.stringContaining("Cannot reach the CA") },
    });
    relay.reload();
    const readyz = async () => (await clientOf(relay, authority.rootPem)("/readyz")).text();
    await waitFor("a warning", async () =>
      (await readyz()).includes("could not be renewed: Cannot reach the CA"),
    );
    expect(await readyz()).toStartWith('{"ready":true,');
    expect((await shown(relay.httpsPort, A)).serial).toBe(serial);
  });

  test("pass on what a CA says about its limits, and a relay keeps to it, also after a restart", async () => {
    await using front = startFront(authority.pebble);
    const on = fresh({ ACME_DIRECTORY: front.directoryUrl });
    const caFile = join(on.dataDir, "front.pem");
    writeFileSync(caFile, front.caPem);
    on.env["ACME_CA_FILE"] = caFile;
    front.fail({
      path: /order-plz/,
      status: 429,
      body: problem("rateLimited", "too many certificates already issued"),
      headers: { "retry-after": "7200" },
    });
    const args = ["--tls", "--domain", A];
    await using relay = startTlsRelay({ env: on.env, dataDir: on.dataDir, args });
    await relay.program.until(/error Cannot [^\n]*limit[^\n]*nextTry=/);
    const { next_try_at: nextTry, last_error: error } = await statusOf(on);
    expect(Date.parse(nextTry ?? "")).toBeGreaterThan(Date.now() + 1.9 * HOUR_MS);
    expect(error?.message).toContain("too many certificates already issued");
    const asked = () => front.requests.filter((line) => line === "POST /order-plz").length;
    const before = asked();
    relay.program.kill("SIGTERM");
    await relay.program.exited;
    await using restarted = startTlsRelay({ env: on.env, dataDir: on.dataDir, args });
    await restarted.program.until(/The next try waits until/);
    restarted.program.kill("SIGTERM");
    expect(await restarted.program.exited).toBe(0);
    expect(asked()).toBe(before);
  });

  test("check a running relay from outside: 0 if all is well, 1 with what is wrong and what to do", async () => {
    await using relay = await serveDomains(authority, [A, B]);
    const ports = ["--http-port", String(authority.httpPort), "--https-port", String(relay.httpsPort)];
    const look = ["tls", "check", A, "--connect", "127.0.0.1", "--wait", "1s", ...ports];
    const check = (...args: string[]) => modelrelay({ env: {} }, ...look, ...args);
    const [good, untrusted] = await Promise.all([check("--ca-file", authority.rootFile), check()]);
    expect(good.stdout).not.toContain("FAIL");
    expect(good.stdout.match(/^ok /gm)?.length).toBeGreaterThanOrEqual(9);
    expect(good.code).toBe(0);
    expect(untrusted.stdout).toMatch(/^FAIL {2}chain trusted [^\n]*authority[^\n]*\n {6}→ [^\n]*--ca-file/m);
    expect(untrusted.code).toBe(1);
    relay.program.kill("SIGTERM");
    await relay.program.exited;
    const gone = await check("--ca-file", authority.rootFile, "--json");
    expect(gone.code).toBe(1);
    expect(JSON.parse(gone.stdout)).toMatchObject({ domain: A });
  });
});

describe.skipIf(NO_CA)("A CA that binds accounts", () => {
  const kid = "kid-1";
  const hmacKey = Buffer.from("a key of thirty-two bytes, no less").toString("base64url");

  test("takes an account with both flags, and none without", async () => {
    await using authority = await startAuthority({ eab: { [kid]: hmacKey } });
    const dataDir = authority.dataDir();
    await using unbound = startTlsRelay({ env: authority.env, dataDir, args: ["--tls", "--domain", A] });
    const [line] = await unbound.program.until(/error Cannot [^\n]*/);
    expect(line).toContain("--acme-eab-kid");
    unbound.program.kill("SIGTERM");
    await unbound.program.exited;
    const env = { ...authority.env, ACME_EAB_KEY: hmacKey };
    await using bound = startTlsRelay({
      env,
      dataDir: authority.dataDir(),
      args: ["--tls", "--domain", A, "--acme-eab-kid", kid],
    });
    await listening(bound);
    expect((await shown(bound.httpsPort, A)).names).toEqual([A]);
  });

  test("is not even asked with one of the two: exit code 2", async () => {
    for (const command of [
      ["serve", "--tls"],
      ["tls", "issue"],
      ["tls", "renew"],
    ]) {
      await using program = startModelrelay([...command, "--domain", A, "--acme-eab-kid", kid]);
      expect(await program.exited).toBe(2);
      expect(program.stderr).toContain("without acme-eab-key");
    }
  });
});

describe("The configurations of proxies", () => {
  for (const [proxy, file] of [
    ["nginx", "tls-nginx.conf"],
    ["caddy", "Caddyfile"],
    ["haproxy", "haproxy.cfg"],
  ] as const) {
    test(`tls ${proxy} prints examples/${file}`, async () => {
      const printed = await modelrelay({ env: {} }, "tls", proxy, "--domain", "relay.example.com");
      const example = await Bun.file(join(import.meta.dir, "../../examples", file)).text();
      expect(printed).toEqual({ stdout: example, stderr: "", code: 0 });
    });
  }
});
