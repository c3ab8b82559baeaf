import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { makeCertificate } from "../support/certificates.ts";
import { startFakeBackend } from "../support/fake-backend.ts";
import {
  A,
  clientOf,
  connected,
  listening,
  SECRET,
  startTlsRelay,
  startTlsWorker,
  type Fetch,
  type TlsRelay,
} from "./tls-relay.ts";

const ca = makeCertificate({ names: [A] });
let files: TempDir;
beforeAll(() => {
  files = new TempDir();
  files.write("cert.pem", ca.chainPem);
  files.write("key.pem", ca.keyPem);
});
afterAll(() => files[Symbol.dispose]());

async function serve(dataDir: string, host: string, args: string[] = []): Promise<TlsRelay> {
  const pair = ["--tls-cert", join(files.path, "cert.pem"), "--tls-key", join(files.path, "key.pem")];
  const env = { WORKER_SECRET: SECRET, HTTP_PORT: "off" };
  return listening(startTlsRelay({ env, dataDir, host, args: [...pair, ...args] }));
}

const CHAT = { model: "tiny", max_tokens: 10, messages: [{ role: "user", content: "hello" }] };

function ask(client: Fetch, path: string, headers: Record<string, string> = {}): Promise<Response> {
  return client(path, {
    method: "POST",
    headers: { "content-type": "application/json", ...headers },
    body: JSON.stringify(CHAT),
  });
}

describe("A relay on an address that others can reach", () => {
  for (const host of ["0.0.0.0", "[::]"]) {
    test(`makes a key for clients (${host}), keeps it to itself, and asks for it in both dialects`, async () => {
      using data = new TempDir();
      await using relay = await serve(data.path, host);
      const file = join(data.path, "api-key");
      const key = readFileSync(file, "utf8").trim();
      expect(key.length).toBeGreaterThan(20);
      expect(statSync(file).mode & 0o777).toBe(0o600);
      await relay.program.until(/Clients use base URL https:\/\/a\.localhost:\d+\/v1 and the API key in \S+/);
      expect(relay.program.stderr).not.toContain(key);

      const client = clientOf(relay, ca.chainPem);
      const refused = {
        openai: await ask(client, "/v1/chat/completions"),
        anthropic: await ask(client, "/v1/messages"),
      };
      expect([refused.openai.status, refused.anthropic.status]).toEqual([401, 401]);
      expect(await refused.openai.json()).toMatchObject({ error: { code: "invalid_api_key" } });
      expect(await refused.anthropic.json()).toMatchObject({
        type: "error",
        error: { type: "authentication_error" },
      });
      expect((await ask(client, "/v1/chat/completions", { authorization: `Bearer ${key}x` })).status).toBe(
        401,
      );

      await using backend = await startFakeBackend();
      await using worker = startTlsWorker(relay, backend.url, ["--ca-file", join(files.path, "cert.pem")]);
      await connected(worker);
      for (const [path, headers] of [
        ["/v1/chat/completions", { authorization: `Bearer ${key}` }],
        ["/v1/messages", { "x-api-key": key, "anthropic-version": "2023-06-01" }],
        ["/v1/chat/completions", { "api-key": key }],
      ] as const) {
        const answer = ask(client, path, headers);
        const exchange = await backend.next();
        exchange.answer(200, { ok: path });
        expect((await answer).status).toBe(200);
        expect(JSON.stringify(exchange.headers)).not.toContain(key);
      }
      // The next start has the same one.
      relay.program.kill("SIGTERM");
      await relay.program.exited;
      await using again = await serve(data.path, host);
      const list = await clientOf(again, ca.chainPem)("/v1/models", { headers: { "x-api-key": key } });
      expect(list.status).toBe(200);
    });
  }

  test("asks for none with --allow-anonymous, nor on this machine's own address", async () => {
    for (const [host, args] of [
      ["0.0.0.0", ["--allow-anonymous"]],
      ["127.0.0.1", []],
    ] as const) {
      using data = new TempDir();
      await using relay = await serve(data.path, host, [...args]);
      expect((await clientOf(relay, ca.chainPem)("/v1/models")).status).toBe(200);
      await relay.program.until(/Clients use base URL \S+, without a key/);
    }
  });
});

describe("--trusted-proxy", () => {
  /** The address that the relay takes a refused worker's request to come from. */
  async function addressOf(args: string[], headers: Record<string, string>): Promise<string | undefined> {
    using data = new TempDir();
    await using relay = await serve(data.path, "127.0.0.1", args);
    const refused = await clientOf(relay, ca.chainPem)("/v1/worker/connect", {
      headers: { connection: "Upgrade", upgrade: "websocket", "x-worker-secret": "wrong", ...headers },
    });
    expect(refused.status).toBe(401);
    return (await relay.program.until(/A worker was refused address=(\S+)/))[1];
  }

  test("takes a client's address from the proxies that are named, and believes nobody else", async () => {
    const forwarded = { "x-forwarded-for": "198.51.100.9, 203.0.113.7" };
    expect(await addressOf(["--trusted-proxy", "127.0.0.0/8"], forwarded)).toBe("203.0.113.7");
    expect(await addressOf(["--trusted-proxy", "127.0.0.1,203.0.113.0/24"], forwarded)).toBe("198.51.100.9");
    expect(await addressOf(["--trusted-proxy", "10.0.0.0/8"], forwarded)).toBe("127.0.0.1");
    expect(await addressOf([], forwarded)).toBe("127.0.0.1");
    const standard = { forwarded: 'for="[2001:db8::17]:4711";proto=https' };
    expect(await addressOf(["--trusted-proxy", "127.0.0.1"], standard)).toBe("2001:db8::17");
  });
});
