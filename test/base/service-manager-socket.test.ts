import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { findServiceManager } from "../../src/base/service-manager.ts";
import { systemClock } from "../../src/base/clock.ts";
import { newDataDir } from "../support/data-dir.ts";
import { listenAsSystemd } from "../support/notify-socket.ts";

describe.skipIf(process.platform !== "linux")("A service under systemd", () => {
  for (const kind of ["path", "abstract"]) {
    test(`is heard on a socket of the kind ${kind}`, async () => {
      const address =
        kind === "path" ? join(newDataDir(), "notify") : `@modelrelay-test-${crypto.randomUUID()}`;
      await using heard = await listenAsSystemd(address);
      const manager = findServiceManager({ env: { NOTIFY_SOCKET: address }, clock: systemClock });
      manager.ready("Listens");
      manager.stopping("Ends", 5_000);
      expect(await heard.next()).toEqual({ pid: process.pid, text: "READY=1\nSTATUS=Listens" });
      expect(await heard.next()).toEqual({
        pid: process.pid,
        text: "STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000\nSTATUS=Ends",
      });
    });
  }

  test("tells one that comes late, once it is there", async () => {
    const address = join(newDataDir(), "notify");
    const manager = findServiceManager({ env: { NOTIFY_SOCKET: address }, clock: systemClock });
    manager.ready("Listens");
    await using heard = await listenAsSystemd(address);
    expect((await heard.next()).text).toBe("READY=1\nSTATUS=Listens");
  });
});
