import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { startBackend } from "../../bench/backend.ts";
import { awaitReady, startChild } from "../../bench/child.ts";
import { runJob } from "../../bench/load.ts";
import { nginxVersion, startNginx } from "../../bench/nginx.ts";
import { cpuSeconds, processTree, residentBytes } from "../../bench/proc.ts";
import { startRelay } from "../../bench/relay.ts";
import { pidsOf } from "../../bench/subject.ts";
import { binaryPath } from "../support/binary.ts";

let dir = "";
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "bench-test-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** Whether a process of this id still runs. */
function runs(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** An executable that takes the two commands as the real one does and proxies without a link. */
function fakeBinary(name: string, body: string): string {
  const script = join(dir, `${name}.ts`);
  writeFileSync(script, body);
  const path = join(dir, `${name}.sh`);
  writeFileSync(path, `#!/bin/sh\nexec ${process.execPath} ${script} "$@"\n`);
  chmodSync(path, 0o755);
  return path;
}

const FAKE = `
const args = process.argv.slice(2);
const flag = (name) => args[args.indexOf(name) + 1];
if (!process.env.WORKER_SECRET) process.exit(3);
if (args[0] === "serve") {
  let backend = "";
  Bun.serve({ hostname: "127.0.0.1", port: Number(flag("--listen").split(":")[1]), async fetch(request) {
    const url = new URL(request.url);
    if (url.pathname === "/register") { backend = await request.text(); return new Response(); }
    if (url.pathname === "/health") return Response.json({ workers_connected: backend === "" ? 0 : 1 });
    return fetch(backend + url.pathname, { method: "POST", body: await request.arrayBuffer() });
  } });
} else {
  if (flag("--models") !== "*" || flag("--max-concurrency") !== "4096") process.exit(4);
  await fetch(flag("--proxy-url") + "/register", { method: "POST", body: flag("--backend-url") });
  setInterval(() => {}, 1000);
}`;

describe("startRelay", () => {
  test("waits until the worker is connected, and ends both processes", async () => {
    const backend = startBackend(0);
    const subject = await startRelay("fake", fakeBinary("fake", FAKE), new URL(backend.url.origin), dir);
    const job = {
      kind: "requests",
      baseUrl: subject.baseUrl,
      connections: 2,
      warmupMs: 0,
      durationMs: 100,
      requestBytes: 300,
      responseBytes: 64,
    } as const;
    const result = await runJob(job);
    const pids = pidsOf(subject);
    expect([result.failures, pids.length, pids.every(runs)]).toEqual([0, 2, true]);
    expect(Object.keys(subject.processes)).toEqual(["relay", "worker"]);
    await subject.stop();
    expect(pids.some(runs)).toBe(false);
    await backend.stop(true);
  });

  test("shows the key that a relay with everything looked after asks for", async () => {
    const backend = startBackend(0);
    const subject = await startRelay("full", binaryPath(), new URL(backend.url.origin), dir, "full");
    const common = { connections: 2, warmupMs: 0, durationMs: 100, requestBytes: 300, responseBytes: 64 };
    const baseUrl = new URL(subject.baseUrl);
    const shown = await runJob({ kind: "requests", baseUrl: baseUrl.href, ...common });
    expect([shown.failures, baseUrl.username.startsWith("mr_live_")]).toEqual([0, true]);
    baseUrl.username = "";
    const asked = await fetch(`${baseUrl.origin}/v1/chat/completions`, { method: "POST", body: "{}" });
    expect(asked.status).toBe(401);
    await subject.stop();
    await backend.stop(true);
  });

  test("says what an executable said that ended instead of starting", async () => {
    const broken = fakeBinary("broken", `console.error("no such flag"); process.exit(2);`);
    const failure = startRelay("broken", broken, new URL("http://127.0.0.1:9"), dir);
    expect(await failure.catch((error: unknown) => error)).toMatchObject({
      message: "Cannot start broken serve: its process ended with 2",
      action: "It said: no such flag",
    });
  });
});

// Debian's package: apt-get install nginx-light. A run in CI has to have it.
describe.skipIf(nginxVersion() === undefined && process.env["CI"] !== "true")(
  "startNginx (needs nginx)",
  () => {
    test("passes requests and streams on, token by token", async () => {
      const backend = startBackend(0);
      const nginx = await startNginx(new URL(backend.url.origin), dir);
      const common = { baseUrl: nginx.baseUrl, connections: 4, warmupMs: 0, durationMs: 200 };
      const whole = await runJob({
        ...common,
        kind: "requests",
        requestBytes: 1_000_000,
        responseBytes: 1_000_000,
      });
      const paced = await runJob({
        ...common,
        kind: "streams",
        intervalMs: 20,
        tokens: 0,
        burst: 1,
        rampMs: 0,
      });
      expect([whole.failures, paced.failures]).toEqual([0, 0]);
      expect(whole.requests).toBeGreaterThan(0);
      // Buffered, a token would wait for the end of its stream.
      expect(paced.delayMs.p50).toBeLessThan(10);
      const tree = processTree(pidsOf(nginx)[0] ?? 0);
      expect(tree).toHaveLength(2);
      await nginx.stop();
      expect(tree.some(runs)).toBe(false);
      await backend.stop(true);
    });
  },
);

describe("awaitReady", () => {
  test("gives up after its limit and says so", async () => {
    await using child = startChild("sleeper", ["sleep", "60"], dir);
    const failure = awaitReady("the sleeper", [child], 60, async () => undefined);
    expect(await failure.catch((error: unknown) => error)).toHaveProperty(
      "message",
      "Cannot start the sleeper: not ready after 60 ms",
    );
  });
});

describe("/proc", () => {
  test("counts the CPU time of a process and of those beneath it", async () => {
    // Two spinners of 300 ms of CPU time, however long that takes, beneath a shell that only waits.
    const spin = "while (process.cpuUsage().user < 3e5);";
    const shell = startChild(
      "spinners",
      [
        "sh",
        "-c",
        `${process.execPath} -e '${spin} setInterval(() => {}, 1e3)' & ${process.execPath} -e '${spin} setInterval(() => {}, 1e3)' & wait`,
      ],
      dir,
    );
    const used = await awaitReady("two spinners", [shell], 10_000, async () => {
      const tree = processTree(shell.pid);
      return tree.length === 3 && tree.slice(1).every((pid) => cpuSeconds([pid]) >= 0.2)
        ? cpuSeconds([shell.pid])
        : undefined;
    });
    expect(used).toBeWithin(0.4, 2);
    const tree = processTree(shell.pid);
    for (const pid of tree.toReversed()) process.kill(pid, "SIGKILL");
    await shell[Symbol.asyncDispose]();
  });

  test("reads resident memory, and none of a process that has ended", async () => {
    const gone = Bun.spawn(["true"]);
    await gone.exited;
    // Both grow and shrink between the two readings; a wrong unit would be off by a thousand.
    expect(residentBytes([process.pid]) / process.memoryUsage.rss()).toBeWithin(0.3, 3);
    expect([residentBytes([gone.pid]), cpuSeconds([gone.pid])]).toEqual([0, 0]);
  });
});
