import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect, type ConnectionOptions, type TLSSocket } from "node:tls";
import { shown, waitFor } from "../e2e/tls-relay.ts";
import { startSecureRelay, type SecureRelay } from "./rig.ts";

let relay: SecureRelay;
let dir: string;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "modelrelay-handshake-"));
  relay = await startSecureRelay({ args: ["--hsts", "--http3"] });
});
afterAll(async () => {
  await relay[Symbol.asyncDispose]();
  rmSync(dir, { recursive: true });
});

const REQUEST = "GET /livez HTTP/1.1\r\nHost: relay.test\r\nConnection: close\r\n\r\n";

/** A handshake by OpenSSL, and what it says of it, with one request behind it. */
async function handshake(...args: string[]): Promise<string> {
  const client = Bun.spawn(
    ["openssl", "s_client", "-connect", `127.0.0.1:${relay.port}`, "-CAfile", relay.caFile, ...args],
    { stdin: Buffer.from(REQUEST), stdout: "pipe", stderr: "pipe" },
  );
  const [stdout, stderr] = await Promise.all([client.stdout.text(), client.stderr.text()]);
  return stdout + stderr;
}

async function dial(options: ConnectionOptions = {}): Promise<TLSSocket> {
  const socket = connect({ port: relay.port, host: "127.0.0.1", ca: relay.caPem, ...options });
  socket.on("error", () => {});
  await once(socket, "secureConnect");
  return socket;
}

/** Keeps the connection open until the answer is whole: tickets of TLS 1.3 come behind the handshake. */
const resumable = async (version: string, file: string, name = "localhost"): Promise<string> =>
  handshake(version, "-servername", name, "-ign_eof", "-sess_out", file);

describe("A handshake with the executable", () => {
  test("is one of TLS 1.2 or 1.3, and never of what came before", async () => {
    const outcome = async (version: string) =>
      /^ {4}Protocol {2}: (.+)$/m.exec(await handshake(version))?.[1];
    // OpenSSL itself would not speak them at its usual level of security.
    const old = async (version: string) =>
      /Cipher is \(NONE\)/.test(await handshake(version, "-cipher", "ALL:@SECLEVEL=0"));
    expect({
      tls12: await outcome("-tls1_2"),
      tls11: await old("-tls1_1"),
      tls10: await old("-tls1"),
    }).toEqual({
      tls12: "TLSv1.2",
      tls11: true,
      tls10: true,
    });
    expect(await handshake("-tls1_3")).toContain("New, TLSv1.3");
  });

  test("shows the chain without its root, under names that it does not have as well", async () => {
    for (const name of ["localhost", "relay.test", "other.test"]) {
      const said = await handshake("-servername", name, "-showcerts");
      expect(said.match(/BEGIN CERTIFICATE/g)).toHaveLength(2);
      expect(said).toContain("Verify return code: 0 (ok)");
    }
  });

  test("agrees on HTTP/2 or HTTP/1.1, and on none where the client knows neither", async () => {
    const agreed = async (...ALPNProtocols: string[]) => {
      const socket = await dial({ ALPNProtocols });
      socket.destroy();
      return socket.alpnProtocol;
    };
    expect([
      await agreed("h2", "http/1.1"),
      await agreed("http/1.1", "h2"),
      await agreed("http/1.1"),
      await agreed("h3", "http/1.1"),
      await agreed("imap"),
    ]).toEqual(["h2", "h2", "http/1.1", "http/1.1", false]);
  });

  test("can be taken up again by a ticket, but for no data before it is done", async () => {
    const file = join(dir, "session");
    for (const version of ["-tls1_2", "-tls1_3"]) {
      await resumable(version, file);
      expect(await handshake(version, "-servername", "localhost", "-sess_in", file)).toContain("Reused, TLS");
    }
    writeFileSync(join(dir, "early"), REQUEST);
    const said = await handshake("-tls1_3", "-sess_in", file, "-early_data", join(dir, "early"), "-ign_eof");
    expect(said).toContain("Early data was not sent");
    expect(said).toContain("Max Early Data: 0");
  });

  test("under another certificate takes no ticket of the one before, and falls back to a whole one", async () => {
    const file = join(dir, "before");
    await resumable("-tls1_3", file);
    const { serial } = relay.changeCertificate();
    relay.serve.kill("SIGHUP");
    await waitFor("the new certificate", async () => (await shown(relay.port)).serial === serial);
    const said = await handshake("-tls1_3", "-servername", "localhost", "-sess_in", file, "-ign_eof");
    expect(said).toContain("New, TLSv1.3");
    expect(said).toContain("Verify return code: 0 (ok)");
    expect(said).toContain("HTTP/1.1 200 OK");
  });

  test("is not repeated on the client's wish", async () => {
    const client = Bun.spawn(
      ["openssl", "s_client", "-connect", `127.0.0.1:${relay.port}`, "-tls1_2", "-CAfile", relay.caFile],
      { stdin: "pipe", stdout: "pipe", stderr: "pipe" },
    );
    void client.stdin.write("R\n");
    await client.stdin.flush();
    const said = await client.stderr.text();
    client.kill();
    expect(said).toContain("alert no renegotiation");
  });

  test("is followed by HSTS on request, and by the way to HTTP/3", async () => {
    const { headers } = await relay.fetch("/livez");
    expect(headers.get("strict-transport-security")).toBe("max-age=31536000");
    expect(headers.get("alt-svc")).toBe(`h3=":${relay.port}"; ma=86400`);
  });
});
