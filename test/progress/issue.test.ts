import { describe, expect, test } from "bun:test";
import { createServer } from "node:https";
import type { AddressInfo } from "node:net";
import { TempDir } from "../commands/reading.ts";
import { startProgram } from "../e2e/program.ts";
import { makeCertificate } from "../support/certificates.ts";
import { screenOf, startOnTerminal } from "../support/on-terminal.ts";

const CLI = [process.execPath, new URL("../../src/cli.ts", import.meta.url).pathname];

/** A CA that keeps whoever asks waiting until the test has seen enough. */
async function startSlowAuthority() {
  const allowed = Promise.withResolvers<void>();
  const dir = new TempDir();
  const authority = makeCertificate({ names: ["Test CA"], authority: true });
  const { chainPem, keyPem } = makeCertificate({ issuer: authority });
  const caFile = dir.write("ca.pem", authority.chainPem);
  const server = createServer({ cert: chainPem, key: keyPem }, (_, response) => {
    void allowed.promise.then(() => response.writeHead(404).end());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    flags: [
      `--acme-directory=https://127.0.0.1:${(server.address() as AddressInfo).port}/directory`,
      `--acme-ca-file=${caFile}`,
    ],
    go: allowed.resolve,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
      dir[Symbol.dispose]();
    },
  };
}

const ISSUE = [...CLI, "tls", "issue", "--domain=relay.example.com", "--http-port=off"];

describe.skipIf(process.platform === "win32")("tls issue", () => {
  test("shows on a terminal at which stage it is and for how long, in one line that is gone at the end", async () => {
    await using authority = await startSlowAuthority();
    await using command = startOnTerminal([...ISSUE, ...authority.flags]);
    await command.until(/\r.\[Krelay\.example\.com: Ordering a certificate, 1 s/);
    await command.until(/\r.\[Krelay\.example\.com: Ordering a certificate, 2 s/);
    authority.go();
    expect(await command.exited).toBe(1);
    const screen = screenOf(command.written);
    expect(screen.filter((line) => /, \d s$/.test(line))).toEqual([]);
    expect(screen.join("\n")).toContain("error: ");
  });

  test("tells it in a line of the log where there is no terminal, and nothing of what is quick", async () => {
    await using authority = await startSlowAuthority();
    await using command = startProgram([...ISSUE, ...authority.flags]);
    await command.until(/info {2}relay\.example\.com: Ordering a certificate, 1 s\n/);
    authority.go();
    expect(await command.exited).toBe(1);
    expect(command.stderr).not.toContain("\u001b");
    await using quick = startProgram([...ISSUE, ...authority.flags]);
    expect(await quick.exited).toBe(1);
    expect(quick.stderr).not.toContain("relay.example.com: ");
  });
});
