import { describe, expect, test } from "bun:test";
import { readFileSync, statSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { startTestBackend } from "../demo/backend.ts";
import { binaryPath } from "../support/binary.ts";
import { runProgram, startModelrelay, startProgram, type Program } from "./program.ts";
import { SECRET, startRelayed, type Relayed } from "./relayed.ts";

const LISTEN = ["--listen", "127.0.0.1:0"];
const LISTENS = /The relay listens url=(\S+)/;
const chat = { model: "demo-echo", messages: [{ role: "user", content: "hi" }] };

/** A folder with the executable under the name by which people call it. */
function installed(dir: TempDir): string {
  symlinkSync(binaryPath(), join(dir.path, "modelrelay"));
  return `${dir.path}:${process.env["PATH"] ?? ""}`;
}

/** Permission bits. */
function modeOf(path: string): string {
  return (statSync(path).mode & 0o777).toString(8);
}

describe("serve without a secret", () => {
  test("makes one, and the command that it prints connects a worker, also after a restart", async () => {
    using bin = new TempDir();
    const PATH = installed(bin);
    using home = new TempDir();
    await using backend = startTestBackend();
    // Each of these needs its quotes in a shell.
    const dataDir = join(home.path, `it's "my" $HOME`);
    const secretFile = join(dataDir, "worker-secret");
    let secret: string | undefined;
    for (let start = 0; start < 2; start++) {
      await using serve = startModelrelay(["serve", ...LISTEN, "--data-dir", dataDir]);
      const [, command = ""] = await serve.until(/^Workers connect with: (modelrelay worker .*)\n/m);
      expect([modeOf(dataDir), modeOf(secretFile)]).toEqual(["700", "600"]);
      const kept = readFileSync(secretFile, "utf8").trim();
      expect(kept).toBe(secret ?? kept);
      secret = kept;
      expect(secret.length).toBeGreaterThan(40);

      // The shell gives way to the worker, so that the worker gets the signal.
      await using worker = startProgram(["sh", "-c", `exec ${command}`], {
        env: { PATH, BACKEND_URL: backend.url },
      });
      await worker.until(/Connected to the relay .*models=demo-echo/);
      worker.kill("SIGTERM");
      expect(await worker.exited).toBe(0);
      serve.kill("SIGTERM");
      expect(await serve.exited).toBe(0);
      expect(serve.stderr + worker.stderr).not.toContain(secret);
    }
  });
});

describe("serve on an address that others can reach", () => {
  for (const address of ["0.0.0.0:0", "[::]:0", ":0"]) {
    test(`makes a key for clients, and serves nobody without it (${address})`, async () => {
      using dir = new TempDir();
      const flags = ["--listen", address, "--data-dir", dir.path];
      await using serve = startModelrelay(["serve", ...flags], { env: { WORKER_SECRET: SECRET } });
      const [, url = ""] = await serve.until(LISTENS);
      const key = (await Bun.file(join(dir.path, "api-key")).text()).trim();
      const statuses = [];
      for (const authorization of ["", "Bearer wrong", `Bearer ${key}`])
        statuses.push((await fetch(`${url}/v1/models`, { headers: { authorization } })).status);
      expect(statuses).toEqual([401, 401, 200]);
    });
  }
});

describe("serve refuses", () => {
  test("a port that another relay holds, in its own words", async () => {
    await using first = startModelrelay(["serve", ...LISTEN], { env: { WORKER_SECRET: SECRET } });
    const [, url = ""] = await first.until(LISTENS);
    const address = new URL(url).host;
    for (const command of ["serve", "demo"]) {
      const env = { WORKER_SECRET: SECRET };
      expect(await runProgram([binaryPath(), command, "--listen", address], { env })).toEqual({
        stdout: "",
        stderr:
          `error: Cannot listen on ${address}: another program listens there already\n` +
          "  → Stop that program, or choose another port with --listen\n",
        code: 1,
      });
    }
  });

  test("an address that this machine does not have", async () => {
    // Documentation addresses belong to nobody (RFC 5737).
    const args = ["serve", "--listen", "192.0.2.1:8080", "--allow-anonymous"];
    expect(await runProgram([binaryPath(), ...args], { env: { WORKER_SECRET: SECRET } })).toEqual({
      stdout: "",
      stderr:
        "error: Cannot listen on 192.0.2.1:8080: this machine does not have the address\n" +
        "  → Choose one that it has with --listen; :PORT stands for all of them\n",
      code: 1,
    });
  });
});

/** Opens a stream and reads its beginning; the rest is read when asked for. */
async function beginStream(relayed: Relayed): Promise<{ rest(): Promise<string> }> {
  const response = await relayed.post("/v1/chat/completions", { ...chat, stream: true });
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) throw new Error("no body");
  let text = (await reader.read()).value ?? "";
  return {
    async rest() {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return text;
        text += value;
      }
    },
  };
}

const PARTS: readonly [name: string, of: (relayed: Relayed) => Program][] = [
  ["serve", ({ serve }) => serve],
  ["worker", ({ worker }) => worker],
];

describe("SIGTERM", () => {
  for (const [name, of] of PARTS) {
    test(`lets ${name} finish the stream that runs, and ends it with 0`, async () => {
      await using backend = startTestBackend({ tokenDelayMs: 10 });
      await using relayed = await startRelayed({ backendUrl: backend.url });
      const stream = await beginStream(relayed);
      of(relayed).kill("SIGTERM");
      expect(await stream.rest()).toEndWith("data: [DONE]\n\n");
      expect(await of(relayed).exited).toBe(0);
      expect((await backend.streamEnd()).outcome).toBe("finished");
    });

    for (const [signal, code] of [
      ["SIGTERM", 143],
      ["SIGINT", 130],
    ] as const) {
      test(`and then ${signal} ends ${name} at once, whatever runs`, async () => {
        // A whole answer would take hours.
        await using backend = startTestBackend({ tokenDelayMs: 100_000 });
        await using relayed = await startRelayed({ backendUrl: backend.url });
        await beginStream(relayed);
        of(relayed).kill("SIGTERM");
        await of(relayed).until(/Finishing what runs; a second signal ends at once/);
        of(relayed).kill(signal);
        expect(await of(relayed).exited).toBe(code);
        expect((await backend.streamEnd()).outcome).toBe("cancelled");
      });
    }
  }
});

describe("SIGHUP", () => {
  test("makes serve read its file again, and say what needs a restart or is wrong", async () => {
    using dir = new TempDir();
    const config = dir.write("relay.toml", "[serve]\nmax-body = '1MiB'\n");
    await using backend = startTestBackend();
    await using relayed = await startRelayed({ backendUrl: backend.url, serve: ["--config", config] });
    const large = { ...chat, user: "x".repeat(2_000) };
    const status = async () => (await relayed.post("/v1/chat/completions", large)).status;
    expect(await status()).toBe(200);

    dir.write("relay.toml", "[serve]\nmax-body = '1KiB'\nprovider = 'other'\n");
    relayed.serve.kill("SIGHUP");
    await relayed.serve.until(/Some settings change only at the next start settings=provider/);
    expect(relayed.serve.stderr).toContain("Settings were read again changed=maxBody");
    expect(await status()).toBe(413);

    dir.write("relay.toml", "[serve]\nmax-body = 'plenty'\n");
    relayed.serve.kill("SIGHUP");
    await relayed.serve.until(/Settings stay as they are: Cannot use "plenty" as max-body \(.*relay\.toml/);
    expect(await status()).toBe(413);
  });
});
