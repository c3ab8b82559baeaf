import { describe, expect, test } from "bun:test";
import { makeCertificate } from "../support/certificates.ts";
import { startTlsFront } from "../support/tls-front.ts";
import { startFakeRelay } from "../worker/fake-relay.ts";
import { TempDir } from "./reading.ts";

const CLI = new URL("../../src/cli.ts", import.meta.url).pathname;
const ca = makeCertificate({ names: ["Test CA"], authority: true });
const PIN = `sha256/${"A".repeat(43)}=`;

async function worker(args: string[], env: Record<string, string> = {}) {
  const child = Bun.spawn([process.execPath, CLI, "worker", ...args], {
    env: { PATH: process.env["PATH"] ?? "", HOME: process.env["HOME"] ?? "", WORKER_SECRET: "s", ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr] = await Promise.all([child.stdout.text(), child.stderr.text()]);
  return { stdout, stderr, code: await child.exited };
}

describe("worker's trust in its relay", () => {
  test("cannot be asked for where nothing is encrypted, nor in two ways at once", async () => {
    using dir = new TempDir();
    const file = dir.write("ca.pem", ca.chainPem);
    expect(await worker(["--proxy-url=http://relay.example.com", `--pin=${PIN}`])).toEqual({
      stdout: "",
      stderr:
        "error: Cannot use pin (flag --pin) with http://relay.example.com (proxy-url, flag --proxy-url): nothing is encrypted there\n  → Write https:// in --proxy-url\n",
      code: 2,
    });
    expect(await worker([], { RELAY_CA_FILE: file })).toMatchObject({
      stderr: expect.stringContaining(
        "Cannot use ca-file (environment variable RELAY_CA_FILE) with http://127.0.0.1:8080 (proxy-url, default)",
      ) as unknown,
      code: 2,
    });
    expect(
      await worker(["--proxy-url=https://relay.example.com", `--ca-file=${file}`, `--pin=${PIN}`]),
    ).toMatchObject({
      stderr: expect.stringContaining("a pinned relay needs no authority") as unknown,
      code: 2,
    });
  });

  test("needs a pin and not a fingerprint, and certificates and not a key", async () => {
    using dir = new TempDir();
    const key = dir.write("key.pem", ca.keyPem);
    const print = await worker(["--proxy-url=https://relay.example.com", `--pin=${"AB:".repeat(31)}AB`]);
    expect(print.code).toBe(2);
    expect(print.stderr).toContain("as the fingerprint of a whole certificate is (flag --pin)");
    const wrong = await worker(["--proxy-url=https://relay.example.com", `--ca-file=${key}`]);
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain(
      `Cannot use "${key}" as ca-file (flag --ca-file): it holds no certificate`,
    );
    const missing = await worker(["--proxy-url=https://relay.example.com", "--ca-file=/nowhere/ca.pem"]);
    expect(missing.code).toBe(2);
    expect(missing.stderr).toContain('"/nowhere/ca.pem" (flag --ca-file): no such file');
  });

  test("is not turned off by the environment, which it says", async () => {
    using dir = new TempDir();
    const file = dir.write("ca.pem", ca.chainPem);
    await using relay = startFakeRelay();
    // Whoever is trusted is then refused for the secret, and need not say more.
    relay.secret = "another";
    const target = Number(new URL(relay.url).port);
    const stranger = makeCertificate();
    const good = makeCertificate({ issuer: ca });
    await using front = await startTlsFront(target, stranger);
    const args = ["--check", `--proxy-url=${front.url}`, "--backend-url=http://127.0.0.1:9"];
    const off = { NODE_TLS_REJECT_UNAUTHORIZED: "0" };
    const refused = await worker(args, off);
    expect(refused.stderr).toContain("NODE_TLS_REJECT_UNAUTHORIZED=0 does not count for the relay");
    expect(refused.stdout).toMatch(/^FAIL {2}certificate trusted .*its certificate is self-signed/m);
    expect(refused.code).toBe(1);
    expect(front.received).toBe("");

    await front.show(good);
    const trusted = await worker([...args, `--ca-file=${file}`]);
    expect(trusted.stderr).toBe("");
    expect(trusted.stdout).toMatch(/^ok {4}certificate trusted .*: trusted, valid until /m);
  });
});
