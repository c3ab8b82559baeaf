import { afterAll, describe, expect, test } from "bun:test";
import { connect, type TLSSocket } from "node:tls";
import { systemClock } from "../../src/base/clock.ts";
import { silentLog } from "../../src/base/log.ts";
import type { ListenerHandlers } from "../../src/server/listener.ts";
import { listenSecurely, RETIREMENT_MS, type SecureListener } from "../../src/server/secure-listener.ts";
import { selfSignedPair } from "../../src/tls/self-signed.ts";
import type { Identity } from "../../src/tls/source.ts";
import { makeCertificate, type TestCertificate } from "../support/certificates.ts";
import { ManualClock } from "../support/manual-clock.ts";

const ANYWHERE = { host: "127.0.0.1", port: 0 };
const SEND_LIMIT = 1024 * 1024;
const certificates = [1, 2, 3].map(() =>
  makeCertificate({ names: ["relay.test", "localhost", "127.0.0.1"] }),
);
const [first, second, third] = certificates as [TestCertificate, TestCertificate, TestCertificate];
const other = makeCertificate({ names: ["other.test"] });

const greeting: ListenerHandlers = {
  request: () => new Response("hello"),
  socket: () => {
    throw new Error("no worker was expected");
  },
};

/** Orders as the kernel allows here, and as where it can be told nothing. */
const WAYS = [
  { name: "where new connections can be steered", steer: undefined },
  { name: "where they cannot", steer: () => false },
];

const listeners: SecureListener[] = [];
afterAll(() => Promise.all(listeners.map((listener) => listener.stop())));

function open(
  handlers: ListenerHandlers,
  clock: ManualClock,
  steer: ((port: number) => boolean) | undefined,
  identities: Identity[] = [first],
): SecureListener {
  const listener = listenSecurely(ANYWHERE, SEND_LIMIT, handlers, identities, {
    http2: true,
    clock,
    log: silentLog,
    ...(steer !== undefined && { steer }),
  });
  listeners.push(listener);
  return listener;
}

function handshake(port: number, servername?: string): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect(
      { host: "127.0.0.1", port, rejectUnauthorized: false, ...(servername !== undefined && { servername }) },
      () => resolve(socket),
    );
    socket.once("error", reject);
  });
}

async function servedSerial(port: number, servername?: string): Promise<string> {
  const socket = await handshake(port, servername);
  const { serialNumber } = socket.getPeerCertificate();
  socket.destroy();
  return serialNumber.toLowerCase();
}

describe("A secure listener", () => {
  test("chooses a certificate by the name that is asked for, and the first where none fits", async () => {
    const { port } = open(greeting, new ManualClock(), undefined, [first, other]);
    expect({
      none: await servedSerial(port),
      first: await servedSerial(port, "relay.test"),
      other: await servedSerial(port, "other.test"),
      unknown: await servedSerial(port, "unknown.test"),
    }).toEqual({ none: first.serial, first: first.serial, other: other.serial, unknown: first.serial });
  });

  test("takes no memory for each of a certificate's names", () => {
    const names = Array.from({ length: 2_000 }, (_, at) => `n${at}.relay.test`);
    const many = { names, ...selfSignedPair({ names, nowMs: Date.now() }) };
    const before = process.memoryUsage.rss();
    const { port } = open(greeting, new ManualClock(), undefined, [many]);
    expect(port).toBeGreaterThan(0);
    // One entry each took 400 MB.
    expect(process.memoryUsage.rss() - before).toBeLessThan(100_000_000);
  });

  test("refuses a port on which another program listens", async () => {
    const taken = open(greeting, new ManualClock(), undefined);
    const again = () =>
      listenSecurely({ host: "127.0.0.1", port: taken.port }, SEND_LIMIT, greeting, [first], {
        http2: true,
        clock: new ManualClock(),
        log: silentLog,
      });
    expect(again).toThrow("another program listens there already");
  });

  for (const { name, steer } of WAYS) {
    test(`serves each new certificate to new connections, ${name}`, async () => {
      const clock = new ManualClock();
      const listener = open(greeting, clock, steer);
      const seen = [await servedSerial(listener.port)];
      for (const next of [second, third, first]) {
        listener.replace([next]);
        if (steer !== undefined) clock.advance(RETIREMENT_MS);
        for (let i = 0; i < 8; i++) seen.push(await servedSerial(listener.port));
      }
      const eight = (serial: string) => Array.from({ length: 8 }, () => serial);
      expect(seen).toEqual([
        first.serial,
        ...eight(second.serial),
        ...eight(third.serial),
        ...eight(first.serial),
      ]);
    });

    test(`cuts no stream by three replacements, ${name}`, async () => {
      const clock = new ManualClock();
      const parts = Promise.withResolvers<ReadableStreamDefaultController<Uint8Array>>();
      const listener = open(
        {
          ...greeting,
          request() {
            const start = (controller: ReadableStreamDefaultController<Uint8Array>) => {
              controller.enqueue(Buffer.from("begun"));
              parts.resolve(controller);
            };
            return new Response(new ReadableStream({ start }));
          },
        },
        clock,
        steer,
      );
      const response = await fetch(`https://127.0.0.1:${listener.port}/`, { tls: { ca: first.chainPem } });
      const reader = response.body!.getReader();
      const controller = await parts.promise;
      expect(Buffer.from((await reader.read()).value).toString()).toBe("begun");
      for (const next of [second, third, first]) {
        controller.enqueue(Buffer.from(next.serial));
        expect(Buffer.from((await reader.read()).value).toString()).toBe(next.serial);
        listener.replace([next]);
        clock.advance(RETIREMENT_MS);
      }
      controller.enqueue(Buffer.from("last"));
      controller.close();
      expect(Buffer.from((await reader.read()).value).toString()).toBe("last");
      expect((await reader.read()).done).toBe(true);
    });

    test(`asks clients on kept connections to leave between two requests, ${name}`, async () => {
      const clock = new ManualClock();
      const listener = open(greeting, clock, steer);
      const socket = await handshake(listener.port);
      const answers: string[] = [];
      const closed = new Promise((resolve) => socket.once("close", resolve));
      const answer = () =>
        new Promise<string>((resolve) => {
          socket.once("data", (bytes: Buffer) => resolve(bytes.toString()));
          socket.write("GET / HTTP/1.1\r\nHost: relay.test\r\n\r\n");
        });
      answers.push(await answer());
      listener.replace([second]);
      answers.push(await answer());
      expect(answers.map((text) => /^connection: close/im.test(text))).toEqual([false, true]);
      await closed;
    });
  }

  test("refuses no handshake while certificates change", async () => {
    const listener = listenSecurely(ANYWHERE, SEND_LIMIT, greeting, [first], {
      http2: true,
      clock: systemClock,
      log: silentLog,
    });
    listeners.push(listener);
    const failures: string[] = [];
    const load = { running: true, done: 0 };
    const clients = Array.from({ length: 16 }, async () => {
      while (load.running) {
        await servedSerial(listener.port).then(
          () => load.done++,
          (error: Error) => failures.push(error.message),
        );
      }
    });
    for (let swap = 0; swap < 10; swap++) {
      const goal = load.done + 100;
      while (load.done < goal) await new Promise((resolve) => setImmediate(resolve));
      listener.replace([certificates[swap % 3]!]);
    }
    load.running = false;
    await Promise.all(clients);
    expect(failures).toEqual([]);
  }, 60_000);
});
