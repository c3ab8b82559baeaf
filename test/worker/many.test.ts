import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { startFakeBackend, type Exchange } from "../support/fake-backend.ts";
import { startFakeRelay } from "./fake-relay.ts";

const AT_ONCE = 300;

describe("Worker process", () => {
  test("has 300 requests at the backend at once, and ends with 0 after SIGTERM", async () => {
    await using backend = await startFakeBackend();
    await using relay = startFakeRelay();
    const { BUN_CONFIG_MAX_HTTP_REQUESTS: _, ...env } = process.env;
    const script = join(import.meta.dir, "many-child.ts");
    const child = Bun.spawn([process.execPath, script, relay.url, backend.url, String(AT_ONCE)], {
      env,
      stdout: "inherit",
      stderr: "inherit",
    });
    try {
      const link = await relay.nextLink();
      await link.accept();
      for (let i = 0; i < AT_ONCE; i++) link.request(`r${i}`, { model: "tiny", n: i });
      // None is answered before the last one is there.
      const exchanges: Exchange[] = [];
      while (exchanges.length < AT_ONCE) exchanges.push(await backend.next());
      for (const exchange of exchanges) exchange.answer(200, exchange.body.toString());
      for (let i = 0; i < AT_ONCE; i++) {
        const complete = await link.next("response_complete", `r${i}`);
        expect([complete["status_code"], complete["body"]]).toEqual([200, `{"model":"tiny","n":${i}}`]);
      }
      child.kill("SIGTERM");
      expect((await link.closed).code).toBe(1000);
      expect(await child.exited).toBe(0);
    } finally {
      child.kill("SIGKILL");
    }
  }, 30_000);
});
