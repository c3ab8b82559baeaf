import { afterAll, describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLog } from "../../../src/base/log.ts";
import { placeOf, type Heritage } from "../../../src/server/heritage.ts";
import { startRelay, type PlainRelay } from "../../../src/server/index.ts";
import type { ListenerHandlers } from "../../../src/server/listener.ts";
import { listenSecurely, RETIREMENT_MS, type SecureListener } from "../../../src/server/secure-listener.ts";
import { connectionsOn } from "../../../src/server/socket-table.ts";
import { makeCertificate, type TestCertificate } from "../../support/certificates.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { relayConfig } from "../../support/relays.ts";
import { servedSerial } from "./served-serial.ts";

const closing: { stop(): Promise<void> }[] = [];
afterAll(() => Promise.all(closing.map((one) => one.stop())));

function relay(port: number, heritage?: Heritage): PlainRelay {
  const config = { ...relayConfig({}), listen: { host: "127.0.0.1", port } };
  const started = startRelay(config, { clock: systemClock, log: silentLog, heritage });
  closing.push(started);
  return started;
}

describe("A place", () => {
  const address = { host: "127.0.0.1", port: 8080 };

  test("is taken over where the process before this one has the same port", () => {
    expect(placeOf(address, 8080)).toEqual({ address, isTakenOver: true });
  });

  test("is a new one where the settings name another port, or that process had none", () => {
    expect(placeOf(address, 9090)).toEqual({ address, isTakenOver: false });
    expect(placeOf(address, undefined)).toEqual({ address, isTakenOver: false });
  });

  test("stays the same where any port will do", () => {
    expect(placeOf({ ...address, port: 0 }, 41_000)).toEqual({
      address: { ...address, port: 41_000 },
      isTakenOver: true,
    });
  });
});

describe.skipIf(process.platform !== "linux")("A port", () => {
  test("is not shared with a relay that was not asked to give it up", () => {
    const first = relay(0);
    expect(() => relay(first.port)).toThrow("another program listens there already");
  });

  test("passes on: all that comes anew comes to the newer one, and what is there is served", async () => {
    const first = relay(0);
    const answered = await fetch(`${first.url}/livez`);
    expect(await answered.json()).toEqual({ status: "ok" });
    const heritage = { ports: first.ports(), models: ["expected"], released: new Promise<void>(() => {}) };
    const second = relay(first.port, heritage);
    const asked = Array.from({ length: 50 }, async () => {
      const response = await fetch(`${first.url}/v1/models`, { keepalive: false });
      const { data } = (await response.json()) as { data: { id: string }[] };
      return data.map(({ id }) => id).join();
    });
    expect(new Set(await Promise.all(asked))).toEqual(new Set(["expected"]));
    expect(second.port).toBe(first.port);
  });

  test("tells how many connections there are to it", async () => {
    const { port } = relay(0);
    expect(connectionsOn(port)).toBe(0);
    const opened = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<void>();
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port,
      socket: {
        data: () => opened.resolve(),
        close: () => closed.resolve(),
      },
    });
    socket.write("GET /livez HTTP/1.1\r\nhost: relay.test\r\n\r\n");
    await opened.promise;
    expect(connectionsOn(port)).toBe(1);
    socket.end();
    await closed.promise;
    while (connectionsOn(port) !== 0) await new Promise(setImmediate);
  });
});

describe.skipIf(process.platform !== "linux")("A secure port", () => {
  const [first, second, third] = [1, 2, 3].map(() => makeCertificate({ names: ["relay.test"] })) as [
    TestCertificate,
    TestCertificate,
    TestCertificate,
  ];
  const greeting: ListenerHandlers = {
    request: () => new Response(new ReadableStream({ start: (to) => to.enqueue(Buffer.from("hello")) })),
    socket: () => {
      throw new Error("no worker was expected");
    },
  };

  function open(clock: ManualClock, port = 0, released?: Promise<void>): SecureListener {
    const options = { http2: true, clock, log: silentLog, released };
    const listener = listenSecurely({ host: "127.0.0.1", port }, 1024, greeting, [first], options);
    closing.push(listener);
    return listener;
  }

  test("changes no certificate while another process is about to open it, and does so if none has", async () => {
    const listener = open(new ManualClock());
    await listener.freeze();
    listener.replace([second]);
    expect(await servedSerial(listener.port)).toBe(first.serial);
    listener.thaw();
    expect(await servedSerial(listener.port)).toBe(second.serial);
  });

  test("is given up when the certificate that was changed last has been out for a while, whatever runs", async () => {
    const clock = new ManualClock();
    const listener = open(clock);
    const running = await fetch(`https://127.0.0.1:${listener.port}/`, {
      tls: { rejectUnauthorized: false },
    });
    listener.replace([second]);
    let isReady = false;
    const ready = listener.freeze().then(() => (isReady = true));
    expect(await servedSerial(listener.port)).toBe(second.serial);
    expect(isReady).toBe(false);
    clock.advance(RETIREMENT_MS);
    expect(await ready).toBe(true);
    expect(Buffer.from((await running.body!.getReader().read()).value).toString()).toBe("hello");
  });

  test("that was taken over changes its certificate when the process before listens no more", async () => {
    const before = open(new ManualClock());
    const released = Promise.withResolvers<void>();
    const after = open(new ManualClock(), before.port, released.promise);
    after.replace([second]);
    after.replace([third]);
    expect(await servedSerial(after.port)).toBe(first.serial);
    await before.stop();
    released.resolve();
    await released.promise;
    expect(await servedSerial(after.port)).toBe(third.serial);
  });
});
