import { expect, test } from "bun:test";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import { listen } from "../../src/server/listener.ts";
import { followFiles } from "../../src/tls/file-source.ts";
import { makeCertificate } from "../support/certificates.ts";

test("A certificate in a file with a byte order mark and remarks is served, under its name", async () => {
  const dir = mkdtempSync(join(tmpdir(), "file-source-"));
  const made = makeCertificate({ names: ["relay.lan", "127.0.0.1"] });
  const [certFile, keyFile] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  writeFileSync(certFile, `\uFEFF${made.chainPem.replaceAll("\n", "\r\n")}subject=CN = relay.lan\n`);
  writeFileSync(keyFile, `\uFEFF${made.keyPem}`);
  const source = await followFiles({ certFile, keyFile, clock: systemClock, log: silentLog, onChange() {} });
  try {
    const handlers = {
      request: () => new Response("served"),
      socket: () => {
        throw new Error("Nothing is upgraded here");
      },
    };
    const secure = { identities: source.identities(), carrier: "tcp", http2: false } as const;
    const listener = listen({ host: "127.0.0.1", port: 0 }, 0, handlers, { secure });
    try {
      const answer = await fetch(`https://127.0.0.1:${listener.port}/`, {
        proxy: "",
        tls: { ca: made.chainPem },
      });
      expect(await answer.text()).toBe("served");
    } finally {
      await listener.stop();
    }
    // Strangers can ask for the reports.
    expect(JSON.stringify(source.reports())).not.toContain(dir);
  } finally {
    await source.close();
    rmSync(dir, { recursive: true });
  }
});
