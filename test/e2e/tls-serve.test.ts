import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { startTestBackend } from "../demo/backend.ts";
import { lacksPart } from "../support/parts.ts";
import { startFront } from "../support/pebble-front.ts";
import { runProgram } from "./program.ts";
import {
  A,
  B,
  clientOf,
  connected,
  freePort,
  listening,
  modelrelay,
  sdksOf,
  serveDomains,
  shown,
  startAuthority,
  startTlsRelay,
  startTlsWorker,
  type Authority,
} from "./tls-relay.ts";

const TEXT = "Grüße, 世界";

describe.skipIf(lacksPart("pebble", "pebbleChallengeServer"))("serve --tls --domain", () => {
  let authority: Authority;
  beforeAll(async () => {
    authority = await startAuthority();
  });
  afterAll(() => authority[Symbol.asyncDispose]());

  test("gets a certificate for each name, shows them by SNI, and the first one to whoever names none", async () => {
    await using relay = await serveDomains(authority, [A, B]);
    const [a, b, none, other] = await Promise.all(
      [A, B, undefined, "other.localhost"].map((name) => shown(relay.httpsPort, name)),
    );
    expect([a?.names, b?.names, none?.names, other?.names]).toEqual([[A], [B], [A], [A]]);
    expect(none?.serial).toBe(a?.serial);
    expect(b?.serial).not.toBe(a?.serial);
    const verified = await shown(relay.httpsPort, A, "-CAfile", authority.rootFile, "-verify_hostname", A);
    expect(verified.output).toContain("Verify return code: 0 (ok)");
  });

  test("speaks TLS 1.2 and 1.3, and nothing older", async () => {
    await using relay = await serveDomains(authority, [A]);
    const spoken = [];
    for (const version of ["-tls1", "-tls1_1", "-tls1_2", "-tls1_3"]) {
      // The client itself refuses the old ones unless it is told to take anything.
      const { serial } = await shown(relay.httpsPort, A, version, "-cipher", "ALL:@SECLEVEL=0");
      if (serial !== "") spoken.push(version);
    }
    expect(spoken).toEqual(["-tls1_2", "-tls1_3"]);
  });

  test("leads from http to the same path and query on https", async () => {
    await using relay = await serveDomains(authority, [A, B]);
    const answers = [];
    for (const host of [A, B, "elsewhere.example"]) {
      const answer = await fetch(`http://127.0.0.1:${authority.httpPort}/v1/models?x=1&y=%20`, {
        headers: { host },
        method: "POST",
        redirect: "manual",
        proxy: "",
      });
      answers.push([answer.status, answer.headers.get("location")]);
    }
    const end = `:${relay.httpsPort}/v1/models?x=1&y=%20`;
    expect(answers).toEqual([
      [308, `https://${A}${end}`],
      [308, `https://${B}${end}`],
      // Nobody is led to where somebody else wants them.
      [308, `https://${A}${end}`],
    ]);
  });

  test("serves both SDKs, streams too, through a worker that trusts the CA and dials wss", async () => {
    await using relay = await serveDomains(authority, [A]);
    await using backend = startTestBackend();
    await using worker = startTlsWorker(relay, backend.url, ["--ca-file", authority.rootFile]);
    await connected(worker);
    const { openai, anthropic } = sdksOf(relay, authority.rootPem);
    const [model] = (await Array.fromAsync(await openai.models.list())).map(({ id }) => id);
    if (model === undefined) throw new Error("no model");
    const question = { model, messages: [{ role: "user" as const, content: TEXT }] };

    const whole = await openai.chat.completions.create(question);
    expect(whole.choices[0]?.message.content).toContain(TEXT);
    const chunks = await Array.fromAsync(await openai.chat.completions.create({ ...question, stream: true }));
    expect(chunks.map(({ choices }) => choices[0]?.delta.content ?? "").join("")).toContain(TEXT);
    expect(chunks.length).toBeGreaterThan(3);

    const message = await anthropic.messages.create({ ...question, max_tokens: 500 });
    expect(message.content).toMatchObject([{ text: expect.stringContaining(TEXT) as string }]);
    const streamed = await anthropic.messages.stream({ ...question, max_tokens: 500 }).finalMessage();
    expect(streamed).toMatchObject({ content: message.content });
  });

  test("answers curl over HTTP/2, over HTTP/1.1, and over that alone with --no-http2", async () => {
    const curl = async (httpsPort: number, ...args: string[]) => {
      const { stdout, stderr } = await runProgram(
        `curl --silent --show-error --noproxy * --connect-to ::127.0.0.1:${httpsPort} --cacert`
          .split(" ")
          .concat(authority.rootFile, "--write-out", " %{http_version}", args, `https://${A}/v1/models`),
      );
      return stdout + stderr;
    };
    const list = '{"object":"list","data":[]}';
    await using relay = await serveDomains(authority, [A]);
    expect(await curl(relay.httpsPort)).toBe(`${list} 2`);
    expect(await curl(relay.httpsPort, "--http1.1")).toBe(`${list} 1.1`);
    relay.program.kill("SIGTERM");
    expect(await relay.program.exited).toBe(0);
    await using plainer = await serveDomains(authority, [A], { args: ["--no-http2"] });
    expect(await curl(plainer.httpsPort)).toBe(`${list} 1.1`);
  });

  test("keeps a plain port closed unless it is asked for with --listen", async () => {
    await using relay = await serveDomains(authority, [A]);
    expect(relay.program.stderr).not.toContain("url=http:");
    relay.program.kill("SIGTERM");
    await relay.program.exited;
    await using both = await serveDomains(authority, [A], { args: ["--listen", "127.0.0.1:0"] });
    const [, url = ""] = await both.program.until(/The relay listens url=(http:\S+)/);
    expect((await fetch(`${url}/health`, { proxy: "" })).status).toBe(200);
  });

  test("says Strict-Transport-Security with --hsts alone", async () => {
    await using plain = await serveDomains(authority, [A]);
    const field = "strict-transport-security";
    expect((await clientOf(plain, authority.rootPem)("/health")).headers.has(field)).toBe(false);
    plain.program.kill("SIGTERM");
    await plain.program.exited;
    await using strict = await serveDomains(authority, [A], { args: ["--hsts"] });
    const answer = await clientOf(strict, authority.rootPem)("/health");
    expect(answer.headers.get(field)).toBe("max-age=31536000");
  });
});

describe.skipIf(lacksPart("pebble", "pebbleChallengeServer"))("serve --tls without a certificate", () => {
  async function readyz(httpPort: number): Promise<{ status: number; text: string }> {
    const answer = await fetch(`http://127.0.0.1:${httpPort}/readyz`, { proxy: "", redirect: "manual" });
    return { status: answer.status, text: await answer.text() };
  }

  test("lives on while the CA is down, says so on its plain port, and serves once the CA is back and it is told", async () => {
    await using authority = await startAuthority();
    await using front = startFront(authority.pebble);
    const { directoryUrl, caPem, address } = front;
    const dataDir = authority.dataDir();
    const caFile = join(dataDir, "front.pem");
    writeFileSync(caFile, caPem);
    await front[Symbol.asyncDispose]();
    await using relay = startTlsRelay({
      env: { ...authority.env, ACME_DIRECTORY: directoryUrl, ACME_CA_FILE: caFile },
      dataDir,
      args: ["--tls", "--domain", A],
    });
    await relay.program.until(/error Cannot /);
    const told = await readyz(authority.httpPort);
    expect(told.status).toBe(503);
    expect(JSON.parse(told.text)).toMatchObject({
      ready: false,
      reasons: [
        expect.stringMatching(
          /^there is no certificate for a\.localhost yet: Cannot reach the CA .*\(next try at 2\d{3}-\S+Z\)$/,
        ),
      ],
    });
    await using _ = startFront(authority.pebble, address);
    relay.reload();
    await listening(relay);
    expect((await clientOf(relay, authority.rootPem)("/readyz")).status).toBe(200);
    // The plain port is for the CA, and leads everybody else away again.
    expect((await readyz(authority.httpPort)).status).toBe(308);
    const status = await modelrelay(relay, "tls", "status", "--json");
    expect(JSON.parse(status.stdout)).toMatchObject({
      certificates: [{ last_error: null, next_try_at: null }],
    });
  });

  test("says where the CA looked in vain, and mends itself after SIGHUP when the name leads here", async () => {
    await using authority = await startAuthority();
    await authority.pebble.dns.address(A, "127.0.0.9");
    await using relay = startTlsRelay({
      env: authority.env,
      dataDir: authority.dataDir(),
      args: ["--tls", "--domain", A],
    });
    await relay.program.until(/error Cannot get a certificate for a\.localhost: .*port 80/);
    const told = await readyz(authority.httpPort);
    expect(told.status).toBe(503);
    expect(told.text).toContain(`there is no certificate for ${A} yet: Cannot get a certificate`);
    await authority.pebble.dns.clear(A);
    relay.reload();
    await listening(relay);
    expect((await shown(relay.httpsPort, A)).names).toEqual([A]);
  });

  test("does not start for a name that none can be had for, or on a port that is taken, and says what helps", async () => {
    const on = { env: { WORKER_SECRET: "unused" } };
    const address = await modelrelay(on, "serve", "--tls", "--domain", "192.0.2.7");
    expect(address).toEqual({
      code: 2,
      stdout: "",
      stderr:
        'error: Cannot use the domain "192.0.2.7": it is an address (flag --domain)\n' +
        "  → Give a name that leads to this address, or use --tls-self-signed, which needs no name\n",
    });
    using taken = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const there = `127.0.0.1:${taken.port}`;
    using data = new TempDir();
    const serve = (...args: string[]) => modelrelay(on, "serve", "--data-dir", data.path, ...args);
    const https = await serve("--tls-self-signed", "--http-port", "off", "--https-port", there);
    expect(https).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /Cannot listen on \S+ another [^\n]*\n {2}→ [^\n]*another port with --https-port\n/,
      ),
    });
    const free = `127.0.0.1:${freePort()}`;
    const same = await serve("--tls-self-signed", "--http-port", free, "--https-port", free);
    expect(same).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/\n {2}→ [^\n]*another port with --https-port\n/),
    });
    const http = await serve("--tls", "--domain", A, "--https-port", free, "--http-port", there);
    expect(http).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/→ [^\n]*the CA asks on port 80; [^\n]*tls nginx/),
    });
  });
});
