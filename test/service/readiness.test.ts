import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { startModelrelay } from "../e2e/program.ts";
import { newDataDir } from "../support/data-dir.ts";
import { listenAsSystemd, type Heard, type NotifySocket } from "../support/notify-socket.ts";

/** What comes until a text matches; the texts before it are of no interest to the test. */
async function until(socket: NotifySocket, pattern: RegExp): Promise<Heard> {
  for (;;) {
    const heard = await socket.next();
    if (pattern.test(heard.text)) return heard;
  }
}

describe.skipIf(process.platform !== "linux")("What systemd is told", () => {
  test("serve is ready once it listens, gives signs of life, and says that it ends", async () => {
    const NOTIFY_SOCKET = join(newDataDir(), "notify");
    await using socket = await listenAsSystemd(NOTIFY_SOCKET);
    const env = { NOTIFY_SOCKET, WATCHDOG_USEC: "200000", DRAIN_TIMEOUT_SECS: "5" };
    await using serve = startModelrelay(["serve", "--listen", "127.0.0.1:0"], { env });
    const ready = await until(socket, /^READY=1/);
    const [, url] = await serve.until(/The relay listens url=(\S+)/);
    expect(ready).toEqual({ pid: serve.pid, text: `READY=1\nSTATUS=Listens on ${url}` });
    expect((await fetch(`${url}/livez`)).status).toBe(200);
    for (let count = 0; count < 3; count++) await until(socket, /^WATCHDOG=1$/);
    serve.kill("SIGTERM");
    const stopping = await until(socket, /^STOPPING=1/);
    expect(stopping.text).toContain("EXTEND_TIMEOUT_USEC=20000000");
    expect(await serve.exited).toBe(0);
  });

  test("a worker is ready without a relay, and tells when it has one and when it lost it", async () => {
    const NOTIFY_SOCKET = join(newDataDir(), "notify");
    const secret = ["--worker-secret", "a-secret-of-this-test"];
    await using serve = startModelrelay(["serve", "--listen", "127.0.0.1:0", ...secret]);
    const [, url = ""] = await serve.until(/The relay listens url=(\S+)/);
    await using socket = await listenAsSystemd(NOTIFY_SOCKET);
    await using worker = startModelrelay(
      ["worker", "--proxy-url", url, ...secret, "--backend-url", "http://127.0.0.1:1"],
      { env: { NOTIFY_SOCKET } },
    );
    const { host } = new URL(url);
    const ready = await until(socket, /^READY=1/);
    expect(ready.text).toBe(`READY=1\nSTATUS=Waits for a link to ${host}`);
    await until(socket, /^STATUS=Connected to /);
    serve.kill("SIGKILL");
    const lost = await until(socket, /^STATUS=Waits/);
    expect(lost.text).toBe(`STATUS=Waits for a link to ${host}`);
    worker.kill("SIGTERM");
    await until(socket, /^STOPPING=1/);
  });
});
