import { describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { startTestBackend } from "../demo/backend.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import {
  A,
  clientOf,
  connected,
  freePort,
  listening,
  SECRET,
  shown,
  startTlsRelay,
  startTlsWorker,
  waitFor,
  type TlsRelay,
} from "./tls-relay.ts";

const ENV = { WORKER_SECRET: SECRET, HTTP_PORT: "off" };

/** A certificate and its key in the files that another program renews. */
class PairFiles {
  readonly cert: string;
  readonly key: string;

  constructor(dir: TempDir) {
    this.cert = join(dir.path, "fullchain.pem");
    this.key = join(dir.path, "privkey.pem");
  }

  write({ chainPem, keyPem }: { chainPem: string; keyPem: string }): void {
    writeFileSync(this.cert, chainPem);
    writeFileSync(this.key, keyPem);
  }
}

async function serveFiles(dir: TempDir, files: PairFiles, args: string[] = []): Promise<TlsRelay> {
  const flags = ["--tls-cert", files.cert, "--tls-key", files.key, ...args];
  return listening(startTlsRelay({ env: ENV, dataDir: dir.path, args: flags }));
}

const madeFor = (names = [A]): TestCertificate => makeCertificate({ names });

async function warnings(relay: TlsRelay, ca: TestCertificate): Promise<string> {
  const { warnings: told } = (await (await clientOf(relay, ca.chainPem)("/readyz")).json()) as {
    warnings: string[];
  };
  return told.join("\n");
}

describe("serve --tls-cert --tls-key", () => {
  test("takes up another pair within seconds, by itself", async () => {
    using dir = new TempDir();
    const files = new PairFiles(dir);
    const [first, second] = [madeFor(), madeFor()];
    files.write(first);
    await using relay = await serveFiles(dir, files);
    expect((await shown(relay.httpsPort, A)).serial).toBe(first.serial);
    files.write(second);
    await waitFor("the new pair", async () => (await shown(relay.httpsPort, A)).serial === second.serial);
    expect((await clientOf(relay, second.chainPem)("/health")).status).toBe(200);
  });

  test("takes it up at once on SIGHUP, refuses a pair that is wrong with the reason, and goes on with the old one", async () => {
    using dir = new TempDir();
    const files = new PairFiles(dir);
    const [first, second] = [madeFor(), madeFor()];
    files.write(first);
    await using relay = await serveFiles(dir, files);
    const expired = makeCertificate({ names: [A], notBefore: 1e12, notAfter: 1.1e12 });
    for (const [pair, why] of [
      [{ chainPem: second.chainPem, keyPem: first.keyPem }, "the key does not belong to it"],
      [expired, "expired"],
      [{ chainPem: second.keyPem, keyPem: second.chainPem }, "swapped"],
      [{ chainPem: "nothing\n", keyPem: second.keyPem }, "it is not PEM"],
    ] as const) {
      const before = relay.program.stderr.length;
      files.write(pair);
      relay.reload();
      const told = new RegExp(
        `error (Cannot [^\\n]*${why}[^\\n]*); the certificate from before is still served`,
      );
      const [, reason = ""] = await relay.program.until(told);
      // The folder is the operator's alone to know.
      expect(await warnings(relay, first)).toContain(reason.replaceAll(`${dir.path}/`, "…/"));
      expect(relay.program.stderr.slice(before).match(/ error /g)).toHaveLength(1);
      expect((await shown(relay.httpsPort, A)).serial).toBe(first.serial);
    }
    files.write(second);
    relay.reload();
    await waitFor("the right pair", async () => (await shown(relay.httpsPort, A)).serial === second.serial);
    expect(await warnings(relay, second)).toBe("no worker is connected");
  });

  test("does not start on a pair that is wrong, and says what is", async () => {
    using dir = new TempDir();
    const files = new PairFiles(dir);
    files.write({ chainPem: madeFor().chainPem, keyPem: madeFor().keyPem });
    await using relay = startTlsRelay({
      env: ENV,
      dataDir: dir.path,
      args: ["--tls-cert", files.cert, "--tls-key", files.key],
    });
    expect(await relay.program.exited).toBe(1);
    expect(relay.program.stderr).toMatch(/^error: Cannot use the certificate: the key does not belong to it/);
    expect(relay.program.stderr).toContain(files.cert);
  });
});

describe("serve --tls-self-signed", () => {
  /** Starts a relay, and reads the pin that it prints. */
  async function serveSelfSigned(dataDir: string): Promise<{ relay: TlsRelay; pin: string }> {
    const args = ["--tls-self-signed", "--domain", "localhost"];
    const relay = await listening(startTlsRelay({ env: ENV, dataDir, args, httpsPort: freePort() }));
    const [, pin = ""] = await relay.program.until(/--pin (sha256\/[\w+/]{43}=)/);
    return { relay, pin };
  }

  test("prints the pin with which a worker trusts it, and after a restart the same", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    const { relay: first, pin } = await serveSelfSigned(dir.path);
    await using relay = first;
    await using worker = startTlsWorker(relay, backend.url, ["--pin", pin], "localhost");
    await connected(worker);
    relay.program.kill("SIGTERM");
    expect(await relay.program.exited).toBe(0);
    const { relay: second, pin: again } = await serveSelfSigned(dir.path);
    await using _ = second;
    expect(again).toBe(pin);
  });

  test("is not trusted by a worker without the pin, or with another, who say why and what to do", async () => {
    using dir = new TempDir();
    await using backend = startTestBackend();
    const { relay: started, pin } = await serveSelfSigned(dir.path);
    await using relay = started;
    await using trusting = startTlsWorker(relay, backend.url, [], "localhost");
    await trusting.until(/Cannot trust the relay: [^\n]*/);
    expect(trusting.stderr).toContain("--pin");
    const other = `sha256/${Buffer.alloc(32).toString("base64")}`;
    await using mistaken = startTlsWorker(relay, backend.url, ["--pin", other], "localhost");
    await mistaken.until(/Cannot trust the relay: [^\n]*/);
    expect(mistaken.stderr).toContain(pin);
    expect(relay.program.stderr).not.toContain("A worker was refused");
  });

  test("prints the pin also where workers have their secret from elsewhere, and clients of no name reach it", async () => {
    using dir = new TempDir();
    const { relay: started, pin } = await serveSelfSigned(dir.path);
    await using relay = started;
    expect(relay.program.stderr).toContain(`Workers trust this relay with: --pin ${pin}\n`);
    expect((await shown(relay.httpsPort)).names).toContain("localhost");
  });
});
