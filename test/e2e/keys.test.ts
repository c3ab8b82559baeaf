import Anthropic, * as anthropicSdk from "@anthropic-ai/sdk";
import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import OpenAI, * as openaiSdk from "openai";
import { TempDir } from "../commands/reading.ts";
import { rejection, startTestBackend } from "../demo/backend.ts";
import { binaryPath } from "../support/binary.ts";
import { runProgram, startModelrelay } from "./program.ts";
import { startRelayed } from "./relayed.ts";

const MODEL = "demo-echo";
const chat = { model: MODEL, messages: [{ role: "user" as const, content: "hi" }] };
const message = { ...chat, max_tokens: 1_000 };

/** Types a command on the machine of the relay. */
async function type(
  dataDir: string,
  ...args: string[]
): Promise<{ stdout: string; stderr: string; code: number }> {
  return runProgram([binaryPath(), ...args, "--data-dir", dataDir]);
}

async function made(dataDir: string, ...args: string[]): Promise<string> {
  const { stdout, stderr, code } = await type(dataDir, ...args);
  expect({ code, stderr }).toMatchObject({ code: 0 });
  return stdout.trim();
}

const openAi = (url: string, apiKey: string) => new OpenAI({ baseURL: `${url}/v1`, apiKey, maxRetries: 0 });
const anthropic = (url: string, apiKey: string) => new Anthropic({ baseURL: url, apiKey, maxRetries: 0 });

describe("Keys in the executable", () => {
  test("are made, used by both SDKs, limited to models, and revoked", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    const serve = ["--data-dir", dir.path, "--require-api-keys"];
    await using relayed = await startRelayed({ backendUrl: backend.url, serve });
    const { url } = relayed;
    const key = await made(dir.path, "keys", "create", "ada");
    expect((await openAi(url, key).chat.completions.create(chat)).choices).toHaveLength(1);
    expect((await anthropic(url, key).messages.create(message)).role).toBe("assistant");
    await relayed.serve.until(/POST \/v1\/messages .*key=ada/);

    const limited = await made(dir.path, "keys", "create", "limited", "--models", "another");
    const forbidden = await rejection(openAi(url, limited).chat.completions.create(chat));
    expect(forbidden).toBeInstanceOf(openaiSdk.PermissionDeniedError);
    expect(forbidden).toMatchObject({ status: 403, code: "model_not_allowed", type: "permission_error" });
    const denied = await rejection(anthropic(url, limited).messages.create(message));
    expect(denied).toBeInstanceOf(anthropicSdk.PermissionDeniedError);
    expect(denied).toMatchObject({ status: 403 });

    expect((await type(dir.path, "keys", "revoke", "ada")).stdout).toBe("ada: revoked\n");
    for (const wrong of [key, "wrong"]) {
      const refused = await rejection(openAi(url, wrong).chat.completions.create(chat));
      expect(refused).toBeInstanceOf(openaiSdk.AuthenticationError);
      expect(refused).toMatchObject({ status: 401, code: "invalid_api_key" });
      const unknown = await rejection(anthropic(url, wrong).messages.create(message));
      expect(unknown).toBeInstanceOf(anthropicSdk.AuthenticationError);
      expect(unknown).toMatchObject({ status: 401 });
    }
    // Nothing that was shown is written anywhere.
    expect(relayed.serve.stderr).not.toContain(key.slice(16));
    expect(readFileSync(join(dir.path, "modelrelay.db"), "latin1")).not.toContain(key.slice(16));
    expect(readFileSync(join(dir.path, "modelrelay.db-wal"), "latin1")).not.toContain(key.slice(16));
  });

  test("outlive a restart, and what runs for one ends with it where that is asked for", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend({ tokenDelayMs: 100 });
    const key = await made(dir.path, "keys", "create", "ada");
    const serve = ["--data-dir", dir.path, "--require-api-keys"];
    await using relayed = await startRelayed({ backendUrl: backend.url, serve });
    const stream = await openAi(relayed.url, key).chat.completions.create({ ...chat, stream: true });
    const iterator = stream[Symbol.asyncIterator]();
    expect((await iterator.next()).done).toBe(false);
    await made(dir.path, "keys", "revoke", "ada", "--revoke-running");
    async function drain(): Promise<void> {
      while ((await iterator.next()).done !== true);
    }
    const failure = await rejection(drain());
    expect(failure).toBeInstanceOf(openaiSdk.APIError);
    expect(failure).toMatchObject({ code: "invalid_api_key", message: "The API key was revoked" });
  });

  test("are known to a relay with a self-signed certificate, whose secrets only its user can read", async () => {
    using dir = new TempDir();
    const flags = ["--tls-self-signed", "--https-port=127.0.0.1:0", "--http-port=off", "--require-api-keys"];
    await using serve = startModelrelay(["serve", "--data-dir", dir.path, ...flags]);
    await serve.until(/The relay listens url=/);
    await serve.until(/keys create/);
    const key = await made(dir.path, "keys", "create", "ada");
    const { url } = JSON.parse(readFileSync(join(dir.path, "relay.json"), "utf8")) as { url: string };
    expect(url).toMatch(/^https:\/\/127\.0\.0\.1:\d+$/);
    const ask = (value: string) =>
      fetch(`${url}/v1/models`, {
        headers: { authorization: `Bearer ${value}` },
        tls: { rejectUnauthorized: false },
      });
    expect((await ask(key)).status).toBe(200);
    expect((await ask("wrong")).status).toBe(401);
    if (process.platform !== "win32") {
      for (const name of ["admin-token", "relay.json", "worker-secret", "modelrelay.db"])
        expect({ name, mode: statSync(join(dir.path, name)).mode & 0o777 }).toEqual({ name, mode: 0o600 });
    }
    serve.kill("SIGTERM");
    expect(await serve.exited).toBe(0);
    expect(existsSync(join(dir.path, "relay.json"))).toBe(false);
    // The relay has stopped, and its database is there.
    expect((await type(dir.path, "keys", "list")).stdout).toMatch(
      /^ada +mr_live_\w{8} +valid +all +none +2/m,
    );
  });

  test("keep nobody waiting for a database that is locked, when a second signal ends the relay", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend({ tokenDelayMs: 100_000 });
    const serve = ["--data-dir", dir.path, "--require-api-keys"];
    await using relayed = await startRelayed({ backendUrl: backend.url, serve });
    const key = await made(dir.path, "keys", "create", "ada");
    using other = new Database(join(dir.path, "modelrelay.db"));
    other.run("BEGIN IMMEDIATE");
    // The use of the key is to be written at the end.
    const stream = await openAi(relayed.url, key).chat.completions.create({ ...chat, stream: true });
    expect((await stream[Symbol.asyncIterator]().next()).done).toBe(false);
    relayed.serve.kill("SIGTERM");
    await relayed.serve.until(/Finishing what runs/);
    const askedAt = performance.now();
    relayed.serve.kill("SIGTERM");
    expect(await relayed.serve.exited).toBe(143);
    // A call on the database is given up after five seconds.
    expect(performance.now() - askedAt).toBeLessThan(3_000);
  });

  test("tell once what to type, and make a first key where others can reach the relay", async () => {
    using dir = new TempDir();
    const said: string[] = [];
    for (let start = 0; start < 2; start++) {
      await using serve = startModelrelay(["serve", "--listen=0.0.0.0:0", "--data-dir", dir.path]);
      await serve.until(/Clients use base URL \S+ and the API key in \S+api-key\n/);
      serve.kill("SIGTERM");
      expect(await serve.exited).toBe(0);
      said.push(serve.stderr);
    }
    expect(said.map((text) => text.includes("modelrelay keys create NAME"))).toEqual([true, false]);
    expect(readFileSync(join(dir.path, "api-key"), "utf8")).toMatch(/^mr_live_[\w-]{43}\n$/);
  });

  test("let a worker in by a secret of its own, and out when it is revoked", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    await using serve = startModelrelay(["serve", "--listen=127.0.0.1:0", "--data-dir", dir.path]);
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    const secret = await made(dir.path, "workers", "secret", "create", "box");
    await using worker = startModelrelay(
      ["worker", `--proxy-url=${url}`, `--backend-url=${backend.url}`, "--models=*"],
      { env: { WORKER_SECRET: secret } },
    );
    await worker.until(/Connected to the relay .*models=\S/);
    await made(dir.path, "workers", "secret", "revoke", "box");
    await serve.until(/A worker left/);
    await worker.until(/worker secret|WORKER_SECRET/i);
  });
});
