import { describe, expect, test } from "bun:test";
import { chmodSync, copyFileSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { binaryPath } from "../support/binary.ts";
import { listenAsSystemd } from "../support/notify-socket.ts";
import { connectRawWorker } from "../support/relays.ts";
import {
  ended,
  isAlive,
  knock,
  listenersOn,
  openFiles,
  startHandedOver,
  type Asking,
  type HandedOver,
  type HandedOverOptions,
} from "./handed-over.ts";
import { SECRET } from "./relayed.ts";
import { freePorts, http3ClientOf, waitFor, type TlsRelay } from "./tls-relay.ts";

const STREAMS = 200;

/** Starts streams, and resolves once the backend has all of them. */
async function startStreams(
  rig: HandedOver,
  count: number,
  { prefix = "s", init = {} }: { prefix?: string; init?: Asking } = {},
): Promise<Promise<boolean>[]> {
  const before = rig.backend.streams;
  const streams = Array.from({ length: count }, (_, at) => rig.stream(`${prefix}${at}`, init));
  await waitFor("the streams", () => Promise.resolve(rig.backend.streams - before === count));
  return streams;
}

const wholeOf = async (streams: Promise<boolean>[]): Promise<number> =>
  (await Promise.all(streams)).filter(Boolean).length;

/** The relay that runs now, as it tells of itself. */
async function health(rig: HandedOver): Promise<{ workers: number; running: number }> {
  const response = await fetch(`${rig.url}/health`, { keepalive: false, tls: { rejectUnauthorized: false } });
  const told = (await response.json()) as { workers_connected: number; requests_in_flight: number };
  return { workers: told.workers_connected, running: told.requests_in_flight };
}

const TLS = ["--tls-self-signed", "--https-port=127.0.0.1:0", "--http-port=off"];

const DOORS = [
  { name: "HTTP", options: {}, init: {} },
  {
    name: "HTTPS",
    options: { listen: false, serve: TLS },
    init: {},
  },
  {
    name: "HTTP/2",
    options: { listen: false, serve: TLS },
    init: { protocol: "http2" },
  },
] satisfies { name: string; options: HandedOverOptions; init: Asking }[];

describe.skipIf(process.platform !== "linux")("A relay that hands over", () => {
  for (const { name, options, init } of DOORS) {
    test(`cuts no stream and refuses no connection, over ${name}`, async () => {
      await using rig = await startHandedOver(options);
      const before = openFiles(rig.first.pid);
      const streams = await startStreams(rig, STREAMS, { init });
      const stop = knock(rig, 4, init);
      await waitFor("some connections", () => Promise.resolve(rig.usage().rows > 20));
      const { pid } = await rig.handOver();
      await rig.arrived();
      const rows = rig.usage().rows;
      await waitFor("some more", () => Promise.resolve(rig.usage().rows > rows + 200));
      const knocks = await stop();
      expect(knocks).toEqual({ tried: knocks.tried, answered: knocks.tried, others: {} });
      expect(await health(rig)).toEqual({ workers: 1, running: 0 });
      expect([isAlive(rig.first.pid), rig.backend.streams]).toEqual([true, STREAMS]);
      rig.backend.finish();
      expect(await wholeOf(streams)).toBe(STREAMS);
      // A connection of HTTP/2 rests for half a minute with its client.
      if (name !== "HTTP/2") expect(await rig.first.ended).toBe(0);
      const count = STREAMS + knocks.tried;
      await waitFor("all of the usage", () => Promise.resolve(rig.usage().rows >= count));
      expect(rig.usage()).toEqual({ rows: count, ids: count, tokens: 2 * knocks.tried });
      if (name === "HTTP/2") return;
      expect(listenersOn(rig.port)).toBe(1);
      // The channel between the two is closed, and nothing else has come with the place.
      await waitFor("the files of a relay", () =>
        Promise.resolve((openFiles(pid)["socket"] ?? 0) <= (before["socket"] ?? 0) + 1),
      );
      process.kill(pid, "SIGTERM");
      await ended(pid);
    }, 60_000);
  }

  test("can do so again and again, with the streams of each going on", async () => {
    await using rig = await startHandedOver();
    const stop = knock(rig, 2);
    const streams = await startStreams(rig, 10, { prefix: "first" });
    for (const turn of [1, 2, 3]) {
      await rig.handOver();
      await rig.arrived();
      streams.push(...(await startStreams(rig, 10, { prefix: `turn${turn}-` })));
    }
    const knocks = await stop();
    expect(knocks).toEqual({ tried: knocks.tried, answered: knocks.tried, others: {} });
    expect(rig.pids.map(isAlive)).toEqual([true, true, true, true]);
    rig.backend.finish();
    expect(await wholeOf(streams)).toBe(40);
    expect(await rig.first.ended).toBe(0);
    for (const pid of rig.pids.slice(0, 3)) await ended(pid);
    expect(listenersOn(rig.port)).toBe(1);
    const count = 40 + knocks.tried;
    await waitFor("all of the usage", () => Promise.resolve(rig.usage().rows >= count));
    expect(rig.usage()).toEqual({ rows: count, ids: count, tokens: 2 * knocks.tried });
    expect((await rig.request({ stream: false })).status).toBe(200);
  }, 90_000);

  test("answers on connections that are kept, and asks their clients to leave", async () => {
    await using rig = await startHandedOver();
    const agent = new KeptConnection(rig.port, rig.key);
    expect(await agent.ask()).toEqual({ status: 200, leaves: false });
    await rig.handOver();
    await rig.arrived();
    expect(await agent.ask()).toEqual({ status: 200, leaves: true });
    await agent.closed;
    expect(await rig.first.ended).toBe(0);
  }, 30_000);

  test("takes in what is still being sent to it, and serves that", async () => {
    await using rig = await startHandedOver();
    const half = Promise.withResolvers<void>();
    const released = Promise.withResolvers<void>();
    const text = JSON.stringify({
      model: "numbers",
      messages: [],
      stream: false,
      filler: "x".repeat(100_000),
    });
    async function* slowly() {
      yield Buffer.from(text.slice(0, 50_000));
      half.resolve();
      await released.promise;
      yield Buffer.from(text.slice(50_000));
    }
    const answer = fetch(`${rig.url}/v1/chat/completions`, {
      method: "POST",
      keepalive: false,
      headers: { "content-type": "application/json", authorization: `Bearer ${rig.key}` },
      body: slowly(),
    });
    await half.promise;
    await rig.handOver();
    // It listens no more, and all that is left of it is this request.
    await waitFor("the end of its port", () => Promise.resolve(listenersOn(rig.port) === 1));
    expect(isAlive(rig.first.pid)).toBe(true);
    released.resolve();
    expect((await answer).status).toBe(200);
    expect(await rig.first.ended).toBe(0);
  }, 60_000);

  test("sends workers of the field over when they have nothing to do", async () => {
    await using rig = await startHandedOver({ serve: ["--link-grace=0"] });
    rig.worker.kill("SIGKILL");
    await rig.worker.exited;
    await rig.first.until(/A worker did not come back in time|A worker left/);
    const older = await connectRawWorker(rig.url, "", SECRET);
    await older.register(["field"]);
    const running = rig.request({ model: "field", stream: false });
    const request = await older.next("request");
    await rig.handOver();
    const newer = connectRawWorker(rig.url, "", SECRET);
    older.complete(request, 200, '{"from":"older"}');
    expect(await (await running).text()).toBe('{"from":"older"}');
    expect(await older.next("graceful_shutdown")).toMatchObject({ reason: "server_shutdown" });
    older.close();
    const moved = await newer;
    await moved.register(["field"]);
    const next = rig.request({ model: "field", stream: false });
    moved.complete(await moved.next("request"), 200, '{"from":"newer"}');
    expect(await (await next).text()).toBe('{"from":"newer"}');
    expect(await rig.first.ended).toBe(0);
    moved.close();
  }, 60_000);

  test("loses nothing of what waits for a worker with few slots, on either side", async () => {
    await using rig = await startHandedOver({ capacity: 3, serve: ["--queue-timeout=1m"] });
    const streams = await startStreams(rig, 2);
    // One slot is left for all of these: most of them wait, at the old process, the new one and the worker.
    const stop = knock(rig, 12);
    await waitFor("some answers", () => Promise.resolve(rig.usage().rows > 20));
    await rig.handOver();
    await rig.arrived();
    const rows = rig.usage().rows;
    await waitFor("some more", () => Promise.resolve(rig.usage().rows > rows + 50));
    const knocks = await stop();
    expect(knocks).toEqual({ tried: knocks.tried, answered: knocks.tried, others: {} });
    rig.backend.finish();
    expect(await wholeOf(streams)).toBe(2);
    expect(await rig.first.ended).toBe(0);
    const count = 2 + knocks.tried;
    await waitFor("all of the usage", () => Promise.resolve(rig.usage().rows >= count));
    expect(rig.usage()).toEqual({ rows: count, ids: count, tokens: 2 * knocks.tried });
  }, 60_000);

  test("waits for nobody who only looks on", async () => {
    await using rig = await startHandedOver();
    const token = readFileSync(join(rig.dataDir, "admin-token"), "utf8").trim();
    const headers = { authorization: `Bearer ${token}` };
    const looking = await fetch(`${rig.url}/admin/requests?follow=true`, { keepalive: false, headers });
    expect(looking.status).toBe(200);
    const reader = looking.body!.getReader();
    expect(Buffer.from((await reader.read()).value).toString()).toBe(": ping\n\n");
    await rig.handOver();
    expect(await rig.first.ended).toBe(0);
    await reader.closed.catch(() => {});
  }, 30_000);

  test("passes on each of its ports, and leaves one that the settings name no more", async () => {
    using dir = new TempDir();
    const config = join(dir.path, "relay.toml");
    const [http, plain, other] = freePorts(3) as [number, number, number];
    const settings = (listen: number) =>
      writeFileSync(config, `[serve]\nhttp-port = "127.0.0.1:${http}"\nlisten = "127.0.0.1:${listen}"\n`);
    settings(plain);
    const serve = ["--tls-self-signed", "--https-port=127.0.0.1:0", "--config", config];
    await using rig = await startHandedOver({ listen: false, serve });
    const alive = async (port: number) =>
      (await fetch(`http://127.0.0.1:${port}/livez`, { redirect: "manual", keepalive: false })).status;
    await rig.handOver();
    expect(await Promise.all([alive(http), alive(plain)])).toEqual([308, 200]);
    expect(await rig.first.ended).toBe(0);
    expect([rig.port, http, plain].map(listenersOn)).toEqual([1, 1, 1]);
    settings(other);
    const [, second = 0] = rig.pids;
    await rig.handOver();
    expect(await Promise.all([alive(http), alive(other)])).toEqual([308, 200]);
    await ended(second);
    expect([rig.port, http, plain, other].map(listenersOn)).toEqual([1, 1, 0, 1]);
  }, 120_000);

  test("tells systemd which process is the service now, and nothing more of the one before", async () => {
    using dir = new TempDir();
    const address = join(dir.path, "notify");
    await using systemd = await listenAsSystemd(address);
    await using rig = await startHandedOver({ env: { NOTIFY_SOCKET: address, WATCHDOG_USEC: "400000" } });
    const { pid } = await rig.handOver();
    process.kill(pid, "SIGTERM");
    expect(await rig.first.ended).toBe(0);
    await ended(pid);
    const heard: { from: string; said: string }[] = [];
    let late = 0;
    for (;;) {
      const { pid: from, text } = await systemd.next();
      const [said = ""] = text.split("\n");
      if (!/^(STATUS|WATCHDOG)=/.test(said)) heard.push({ from: from === pid ? "new" : "old", said });
      if (from !== pid && heard.some((one) => one.from === "new")) late++;
      if (said === "STOPPING=1") break;
    }
    expect(heard).toEqual([
      { from: "old", said: "READY=1" },
      { from: "old", said: "RELOADING=1" },
      { from: "new", said: `MAINPID=${pid}` },
      { from: "new", said: "STOPPING=1" },
    ]);
    // The old one lives for seconds yet, in which it would give 15 signs of life; one can be on its way.
    expect(late).toBeLessThanOrEqual(1);
  }, 30_000);

  test("starts another process when the one that took over dies, however late, and tells systemd", async () => {
    using dir = new TempDir();
    const address = join(dir.path, "notify");
    await using systemd = await listenAsSystemd(address);
    await using rig = await startHandedOver({ env: { NOTIFY_SOCKET: address } });
    const streams = await startStreams(rig, 5);
    const { pid } = await rig.handOver();
    await rig.arrived();
    // Nothing listens here any more.
    await waitFor("the port to be the other's alone", () => Promise.resolve(listenersOn(rig.port) === 1));
    process.kill(pid, "SIGKILL");
    const again = new RegExp(`taken over; .* pid=(?!${pid}$)(\\d+)$`, "m");
    const [, next] = await rig.first.until(again);
    rig.pids.push(Number(next));
    await rig.first.until(/The process that took over was ended by signal SIGKILL: starting another one/);
    await rig.arrived();
    expect((await rig.request({ stream: false })).status).toBe(200);
    rig.backend.finish();
    expect(await wholeOf(streams)).toBe(5);
    expect(await rig.first.ended).toBe(0);
    expect((await rig.request({ stream: false })).status).toBe(200);
    const mains: number[] = [];
    while (mains.length < 3) {
      const { text } = await systemd.next();
      const main = /^MAINPID=(\d+)$/m.exec(text)?.[1];
      if (main !== undefined) mains.push(Number(main));
    }
    expect(mains).toEqual([pid, rig.first.pid, Number(next)]);
  }, 60_000);

  test("starts one process, however often it is told to", async () => {
    await using rig = await startHandedOver();
    const streams = await startStreams(rig, 3);
    process.kill(rig.first.pid, "SIGUSR2");
    await rig.first.until(/Starting another process/);
    process.kill(rig.first.pid, "SIGUSR2");
    await rig.handOver();
    await rig.first.until(/Another process is taking over already/);
    expect(rig.first.stderr.match(/taken over; /g)).toHaveLength(1);
    rig.backend.finish();
    expect(await wholeOf(streams)).toBe(3);
    expect(await rig.first.ended).toBe(0);
  }, 30_000);

  test("runs what lies in its place by then, with the settings that are there by then", async () => {
    using dir = new TempDir();
    const binary = join(dir.path, "modelrelay");
    copyFileSync(binaryPath(), binary);
    const config = join(dir.path, "relay.toml");
    writeFileSync(config, "[serve]\nmax-body = '2MiB'\n");
    await using rig = await startHandedOver({ binary, serve: ["--config", config] });
    copyFileSync(binaryPath(), `${binary}.new`);
    renameSync(`${binary}.new`, binary);
    writeFileSync(config, "[serve]\nmax-body = '1KiB'\n");
    const { pid } = await rig.handOver();
    await rig.arrived();
    expect(readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0").slice(0, 2)).toEqual([binary, "serve"]);
    const large = await rig.request({ stream: false, filler: "x".repeat(2_000) });
    expect(large.status).toBe(413);
    expect(await rig.first.ended).toBe(0);
  }, 30_000);

  describe("to one that does not serve", () => {
    const FAILURES = [
      {
        name: "writes down that it serves, and ends before it says so",
        script: `#!/bin/sh\nprintf '{"url":"http://127.0.0.1:1","pid":1}' > "$MODELRELAY_DATA_DIR/relay.json"; exit 5\n`,
        says: "exit code 5",
      },
      {
        name: "has settings that are no good",
        config: "[serve]\nno-such-setting = 1\n",
        says: "exit code 2",
      },
      { name: "ends at once", script: "#!/bin/sh\nexit 7\n", says: "exit code 7" },
      { name: "is killed", script: "#!/bin/sh\nkill -9 $$\n", says: "signal SIGKILL" },
      { name: "cannot be started", script: "no program at all", says: "Cannot hand over" },
    ];
    for (const { name, config, script, says } of FAILURES) {
      test(`as it ${name}, goes on as if nothing had happened`, async () => {
        using dir = new TempDir();
        const binary = join(dir.path, "modelrelay");
        copyFileSync(binaryPath(), binary);
        const file = join(dir.path, "relay.toml");
        writeFileSync(file, "");
        await using rig = await startHandedOver({ binary, serve: ["--config", file] });
        const streams = await startStreams(rig, 5);
        const stop = knock(rig, 2);
        if (config !== undefined) writeFileSync(file, config);
        if (script !== undefined) {
          writeFileSync(`${binary}.new`, script);
          chmodSync(`${binary}.new`, 0o755);
          renameSync(`${binary}.new`, binary);
        }
        process.kill(rig.first.pid, "SIGUSR2");
        await rig.first.until(
          new RegExp(`Cannot hand over to another process: .*${says}`.replace(/: \.\*Cannot.*/, "")),
        );
        expect(rig.first.stderr).toContain(says);
        const knocks = await stop();
        expect(knocks).toEqual({ tried: knocks.tried, answered: knocks.tried, others: {} });
        expect(listenersOn(rig.port)).toBe(1);
        expect(JSON.parse(readFileSync(join(rig.dataDir, "relay.json"), "utf8"))).toMatchObject({
          url: rig.url,
          pid: rig.first.pid,
        });
        // It can be put right, and then works.
        copyFileSync(binaryPath(), `${binary}.new`);
        renameSync(`${binary}.new`, binary);
        writeFileSync(file, "");
        await rig.handOver();
        rig.backend.finish();
        expect(await wholeOf(streams)).toBe(5);
        expect(await rig.first.ended).toBe(0);
      }, 30_000);
    }
  });

  test("that is stopped before the other one serves, ends that, finishes, and ends", async () => {
    using dir = new TempDir();
    const binary = join(dir.path, "modelrelay");
    copyFileSync(binaryPath(), binary);
    await using rig = await startHandedOver({ binary });
    const streams = await startStreams(rig, 5);
    const started = join(dir.path, "pid");
    writeFileSync(
      `${binary}.new`,
      `#!/bin/sh\necho $$ > ${started}.new\nmv ${started}.new ${started}\nexec sleep 100\n`,
    );
    chmodSync(`${binary}.new`, 0o755);
    renameSync(`${binary}.new`, binary);
    process.kill(rig.first.pid, "SIGUSR2");
    await waitFor("the other process", () => Bun.file(started).exists());
    const pid = Number(readFileSync(started, "utf8"));
    expect(isAlive(pid)).toBe(true);
    process.kill(rig.first.pid, "SIGTERM");
    await rig.first.until(/this one is to stop/);
    await ended(pid);
    rig.backend.finish();
    expect(await wholeOf(streams)).toBe(5);
    expect(await rig.first.ended).toBe(0);
    expect(listenersOn(rig.port)).toBe(0);
  }, 30_000);

  test("that is stopped after it, gives what runs the time of a stop, and leaves the other one alone", async () => {
    await using rig = await startHandedOver({ serve: ["--drain-timeout=500ms"] });
    const streams = await startStreams(rig, 5);
    const { pid } = await rig.handOver();
    await rig.arrived();
    process.kill(rig.first.pid, "SIGTERM");
    // They are cut when that time is over, and say so.
    expect(await wholeOf(streams)).toBe(0);
    expect(await rig.first.ended).toBe(0);
    expect(isAlive(pid)).toBe(true);
    expect((await rig.request({ stream: false })).status).toBe(200);
  }, 30_000);

  test("gives what runs the time that it was told to, and no more", async () => {
    await using rig = await startHandedOver({ serve: ["--handover-timeout=4s"] });
    const streams = await startStreams(rig, 2);
    await rig.handOver();
    expect(await wholeOf(streams)).toBe(0);
    expect(await rig.first.ended).toBe(0);
    expect((await rig.request({ stream: false })).status).toBe(200);
  }, 30_000);

  test("keeps the port of HTTP/3 until what runs there has ended, and the next one opens it then", async () => {
    await using rig = await startHandedOver({
      listen: false,
      serve: [...TLS, "--http3"],
    });
    const h3 = http3ClientOf({ httpsPort: rig.port } as TlsRelay);
    const ask = (body: object) =>
      h3("/v1/chat/completions", {
        method: "POST",
        headers: { "content-type": "application/json", authorization: `Bearer ${rig.key}` },
        body: JSON.stringify({ model: "numbers", messages: [], ...body }),
      });
    const streams = Array.from({ length: 5 }, async (_, at) => {
      const response = await ask({ stream: true, user: `h3-${at}` });
      return (await response.text()) === rig.backend.sent(`h3-${at}`);
    });
    await waitFor("the streams", () => Promise.resolve(rig.backend.streams === 5));
    await rig.handOver();
    await rig.arrived();
    expect(
      (await fetch(`${rig.url}/health`, { tls: { rejectUnauthorized: false } })).headers.get("alt-svc"),
    ).toBe(null);
    rig.backend.finish();
    expect(await wholeOf(streams)).toBe(5);
    expect(await rig.first.ended).toBe(0);
    await waitFor("HTTP/3 at the next one", async () => {
      const { headers } = await fetch(`${rig.url}/health`, {
        keepalive: false,
        tls: { rejectUnauthorized: false },
      });
      return headers.get("alt-svc") !== null;
    });
    expect((await ask({ stream: false })).status).toBe(200);
  }, 60_000);
});

/** One connection of HTTP/1.1, over which one request goes after the other. */
class KeptConnection {
  readonly closed: Promise<void>;
  readonly #socket: Promise<Bun.Socket>;
  readonly #key: string;
  #text = "";
  #wake = Promise.withResolvers<void>();

  constructor(port: number, key: string) {
    this.#key = key;
    const closed = Promise.withResolvers<void>();
    this.closed = closed.promise;
    this.#socket = Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: (_, bytes) => {
          this.#text += bytes.toString();
          this.#wake.resolve();
        },
        close: () => closed.resolve(),
        end: (socket) => void socket.end(),
      },
    });
  }

  async ask(): Promise<{ status: number; leaves: boolean }> {
    const body = JSON.stringify({ model: "numbers", messages: [], stream: false });
    const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: relay.test\r\nauthorization: Bearer ${this.#key}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n`;
    this.#text = "";
    (await this.#socket).write(head + body);
    while (!this.#text.includes('"total_tokens":2}}')) {
      this.#wake = Promise.withResolvers();
      await this.#wake.promise;
    }
    return {
      status: Number(/^HTTP\/1\.1 (\d+)/.exec(this.#text)?.[1]),
      leaves: /^connection: close\r$/im.test(this.#text),
    };
  }
}
