import { expect, test } from "bun:test";
import { createServer, type AddressInfo } from "node:net";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { listeningAddress } from "../../support/relays.ts";

test("serve ends within seconds of its signal while its collector says nothing", async () => {
  using dir = new (class {
    readonly path = mkdtempSync(join(tmpdir(), "modelrelay-"));
    [Symbol.dispose]() {
      rmSync(this.path, { recursive: true, force: true });
    }
  })();
  const asked = Promise.withResolvers<void>();
  const collector = createServer((socket) => socket.once("data", () => asked.resolve()));
  await new Promise<void>((resolve) => collector.listen(0, "127.0.0.1", resolve));
  const { port } = collector.address() as AddressInfo;
  await using child = Bun.spawn(
    [process.execPath, join(import.meta.dir, "../../../src/cli.ts"), "serve", "--listen=127.0.0.1:0"],
    {
      env: {
        PATH: process.env["PATH"] ?? "",
        MODELRELAY_DATA_DIR: dir.path,
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${port}`,
      },
      stdio: ["ignore", "ignore", "pipe"],
    },
  );
  const url = await listeningAddress(child.stderr);
  await (await fetch(`${url}/v1/models`, { keepalive: false })).text();
  child.kill("SIGTERM");
  await asked.promise;
  const began = performance.now();
  expect(await child.exited).toBe(0);
  const took = performance.now() - began;
  // It is given its two seconds, and no more.
  expect(took).toBeGreaterThan(1_500);
  expect(took).toBeLessThan(6_000);
  collector.close();
}, 30_000);
