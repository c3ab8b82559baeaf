import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { startTestBackend } from "../demo/backend.ts";
import { binaryPath } from "../support/binary.ts";
import { runProgram } from "./program.ts";
import { startRelayed, type Relayed } from "./relayed.ts";

const CHAT = "/v1/chat/completions";
const HI = { model: "demo-echo", messages: [{ role: "user", content: "hi" }], max_tokens: 100 };

interface Sent {
  status: number;
  code: unknown;
  /** Tokens that it took, and those that are left, as the answer says. */
  used: number;
  left: number;
}

async function send(relayed: Relayed, key = "none"): Promise<Sent> {
  const response = await relayed.post(CHAT, HI, { headers: { authorization: `Bearer ${key}` } });
  const { error, usage } = (await response.json()) as {
    error?: { code?: unknown };
    usage?: { total_tokens: number };
  };
  const left = Number(response.headers.get("x-ratelimit-remaining-tokens"));
  return { status: response.status, code: error?.code, used: usage?.total_tokens ?? 0, left };
}

async function makeKey(dataDir: string, ...args: string[]): Promise<string> {
  const made = await runProgram([binaryPath(), "keys", "create", ...args, "--data-dir", dataDir]);
  expect(made).toMatchObject({ code: 0 });
  return made.stdout.trim();
}

describe("Limits in the executable", () => {
  test("change with the config file at SIGHUP", async () => {
    using dir = new TempDir();
    const file = join(dir.path, "relay.toml");
    writeFileSync(file, "[serve]\nanonymous-rpm = 1\n");
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url, serve: ["--config", file] });
    expect((await send(relayed)).status).toBe(200);
    expect(await send(relayed)).toMatchObject({ status: 429, code: "rate_limit_exceeded" });
    writeFileSync(file, "[serve]\nrelay-tpm = 1000\n");
    relayed.serve.kill("SIGHUP");
    await relayed.serve.until(/Settings were read again changed=anonymousRpm,relayTpm/);
    const { status, left } = await send(relayed);
    expect(status).toBe(200);
    expect(left).toBeWithin(1, 1_000);
  });

  test("are each key's own, and what was used of a budget is still known after a restart", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    const serve = ["--data-dir", dir.path, "--require-api-keys"];
    let key: string;
    let used = 0;
    {
      await using relayed = await startRelayed({ backendUrl: backend.url, serve });
      const once = await makeKey(dir.path, "once", "--rpm", "1");
      expect((await send(relayed, once)).status).toBe(200);
      expect(await send(relayed, once)).toMatchObject({ status: 429, code: "rate_limit_exceeded" });
      key = await makeKey(dir.path, "spender", "--budget-tokens", "1000", "--budget-period", "month");
      for (let sent = 0; sent < 2; sent++) {
        const answer = await send(relayed, key);
        expect(answer.status).toBe(200);
        used += answer.used;
      }
      expect(used).toBeGreaterThan(20);
      relayed.serve.kill("SIGTERM");
      expect(await relayed.serve.exited).toBe(0);
    }
    await using relayed = await startRelayed({ backendUrl: backend.url, serve });
    const next = await send(relayed, key);
    expect(next.status).toBe(200);
    // It is charged what it took, or, if it has not ended for the relay, what was set aside for it.
    expect(1_000 - used - next.left).toBeWithin(next.used, 150);
  });
});
