import type { Socket } from "node:net";
import { networkInterfaces } from "node:os";
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { HttpClient } from "../../../src/worker/http/http-client.ts";
import { startFakeBackend, type Exchange, type FakeBackend } from "../../support/fake-backend.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { allOf, Asked, listen } from "./asked.ts";

const HI = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const hi = { status: 200, body: "hi", error: undefined };

const clientOf = (fake: FakeBackend, clock = systemClock) => new HttpClient(new URL(fake.url), clock);

/** Asks and has it answered; the connection is kept then. */
async function exchanged(client: HttpClient, fake: FakeBackend, answer = HI): Promise<Exchange> {
  const asked = new Asked(client);
  const exchange = await fake.next();
  exchange.raw(answer);
  expect((await asked.outcome).error).toBeUndefined();
  exchange.end();
  return exchange;
}

describe("Kept connection", () => {
  test("carries one request after the other", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    let gone = false;
    for (let i = 0; i < 5; i++) {
      const { closed } = await exchanged(client, fake);
      void closed.then(() => (gone = true));
    }
    expect([fake.connections(), gone]).toEqual([1, false]);
    client.close();
  });

  test("is closed after 4 s of quiet", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const client = clientOf(fake, clock);
    const asked = [new Asked(client), new Asked(client)];
    const exchanges = [await fake.next(), await fake.next()];
    exchanges[0]!.raw(HI);
    await Promise.race(asked.map(({ outcome }) => outcome));
    clock.advance(3_000);
    exchanges[1]!.raw(HI);
    await Promise.all(asked.map(({ outcome }) => outcome));
    clock.advance(1_000);
    await exchanges[0]!.closed;
    expect([fake.connections(), clock.pending]).toEqual([1, [3_000]]);
    clock.advance(3_000);
    await exchanges[1]!.closed;
    expect(clock.pending).toEqual([]);
  });

  test("is not used when it is older, though no timer has closed it yet", async () => {
    await using fake = await startFakeBackend();
    const clock = new (class extends ManualClock {
      override after = () => ({ cancel() {} });
    })();
    const client = clientOf(fake, clock);
    const first = await exchanged(client, fake);
    clock.advance(3_999);
    const second = await exchanged(client, fake);
    expect(fake.connections()).toBe(1);
    clock.advance(4_000);
    await exchanged(client, fake);
    await Promise.all([first.closed, second.closed]);
    expect(fake.connections()).toBe(1);
    client.close();
  });

  test("is closed with its client, and leaves no timer", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const client = clientOf(fake, clock);
    const { closed } = await exchanged(client, fake);
    expect(clock.pending).toEqual([4_000]);
    client.close();
    await closed;
    expect(clock.pending).toEqual([]);
  });

  test("is forgotten when the server closes it, with its timer", async () => {
    const sockets: Socket[] = [];
    await using server = await listen((socket) => {
      sockets.push(socket);
      socket.on("data", () => socket.write(HI));
    });
    const clock = new ManualClock();
    const client = new HttpClient(server.origin, clock);
    await new Asked(client).outcome;
    const closed = allOf(sockets[0]!);
    sockets[0]!.end();
    await closed;
    expect(await new Asked(client).outcome).toEqual(hi);
    expect([sockets.length, clock.pending]).toEqual([2, [4_000]]);
    client.close();
  });

  test("that ends as a request is sent has it sent once more, and only once", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    for (const end of ["cut", "reset"] as const) {
      await exchanged(client, fake);
      const asked = new Asked(client, { body: Buffer.from(end) });
      (await fake.next())[end]();
      const again = await fake.next();
      expect(again.body.toString()).toBe(end);
      again[end]();
      expect((await asked.outcome).error?.words).toBe("the connection was closed without an answer");
    }
    expect(fake.exchanges.items).toEqual([]);
  });

  test("that ends while the server was at work has nothing sent again", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const client = clientOf(fake, clock);
    await exchanged(client, fake);
    const asked = new Asked(client);
    const exchange = await fake.next();
    clock.advance(1_000);
    exchange.cut();
    expect((await asked.outcome).error?.code).toBe("ConnectionClosed");
    expect(fake.exchanges.items).toEqual([]);
  });

  test("that ends in the middle of an answer has nothing sent again", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    await exchanged(client, fake);
    const asked = new Asked(client);
    const exchange = await fake.next();
    exchange.raw("HTTP/1.1 200");
    exchange.cut();
    expect((await asked.outcome).error?.code).toBe("ConnectionClosed");
    expect(fake.exchanges.items).toEqual([]);
  });

  test("is closed by bytes that nobody asked for", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const exchange = await exchanged(client, fake);
    exchange.raw("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil");
    await exchange.closed;
    const next = await exchanged(client, fake);
    expect(next).not.toBe(exchange);
    client.close();
  });

  test.each([
    ["bytes follow", `${HI}x`],
    ["bytes follow an empty body", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\nx"],
    ["bytes follow a 204", "HTTP/1.1 204 OK\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil"],
    ["the server closes", HI.replace("content", "connection: close\r\ncontent")],
    ["its length stands there in two ways", chunkedHi().replace("trans", "content-length: 2\r\ntrans")],
  ])("is not made of one on which %s with an answer", async (_, answer) => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const { closed } = await exchanged(client, fake, answer);
    await closed;
  });

  test("heeds only the call that it carries", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const first = new Asked(client);
    (await fake.next()).answer(200, "hi");
    await first.outcome;
    const second = new Asked(client);
    const exchange = await fake.next();
    first.call.pause();
    exchange.answer(200, "hi");
    expect(await second.outcome).toEqual(hi);
    first.call.cancel();
    await exchanged(client, fake);
    expect(fake.connections()).toBe(1);
    client.close();
  });

  test("is read again for the next call, when the last one was paused to its end", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const paused = new Asked(client, { onHead: (call) => call.pause() });
    const exchange = await fake.next();
    exchange.raw("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    await paused.outcome;
    exchange.end();
    await exchanged(client, fake);
    expect(fake.connections()).toBe(1);
    client.close();
  });
});

function chunkedHi(): string {
  return "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n";
}

describe("Fresh connection", () => {
  test("that is closed without an answer is an error, and nothing is sent again", async () => {
    await using fake = await startFakeBackend();
    for (const end of ["cut", "reset"] as const) {
      const asked = new Asked(clientOf(fake));
      (await fake.next())[end]();
      expect((await asked.outcome).error?.words).toBe("the connection was closed without an answer");
    }
    expect(fake.exchanges.items).toEqual([]);
  });

  test("that is refused says that nothing listens there", async () => {
    const fake = await startFakeBackend();
    await fake.stop();
    const { error } = await new Asked(clientOf(fake)).outcome;
    expect(error?.words).toBe("nothing listens there (connection refused)");
  });

  test.skipIf(
    !Object.values(networkInterfaces())
      .flat()
      .some((at) => at?.address === "::1"),
  )("goes to an IPv6 address", async () => {
    await using server = await listen((socket) => socket.on("data", () => socket.write(HI)), "::1");
    expect(server.origin.hostname).toBe("[::1]");
    const client = new HttpClient(server.origin, systemClock);
    expect(await new Asked(client).outcome).toEqual(hi);
    client.close();
  });

  test("is given up after 10 s, and closed when it is there after all", async () => {
    const sent = Promise.withResolvers<string>();
    await using server = await listen((socket) => void allOf(socket).then(sent.resolve));
    const clock = new ManualClock();
    const asked = new Asked(new HttpClient(server.origin, clock));
    // No connection is there before the event loop has turned.
    clock.advance(10_000);
    expect((await asked.outcome).error).toEqual({ code: "ETIMEDOUT", words: "no answer in time" });
    expect([await sent.promise, asked.late]).toEqual(["", 0]);
  });

  test("may take nearly 10 s, and has no timer from then on", async () => {
    await using fake = await startFakeBackend();
    const clock = new ManualClock();
    const asked = new Asked(clientOf(fake, clock));
    expect(clock.pending).toEqual([10_000]);
    clock.advance(9_999);
    const exchange = await fake.next();
    expect(clock.pending).toEqual([]);
    clock.advance(10_000);
    exchange.raw(HI.replace("content", "connection: close\r\ncontent"));
    expect(await asked.outcome).toEqual(hi);
  });

  test("is as many as there are requests at once", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const asked = Array.from({ length: 320 }, () => new Asked(client));
    const exchanges: Exchange[] = [];
    while (exchanges.length < asked.length) exchanges.push(await fake.next());
    expect(fake.connections()).toBe(320);
    for (const exchange of exchanges) exchange.raw(HI);
    for (const { outcome } of asked) expect(await outcome).toEqual(hi);
    client.close();
  });
});

describe("Cancelled call", () => {
  test("closes its connection while it is dialled, and sends nothing", async () => {
    const sent = Promise.withResolvers<string>();
    await using server = await listen((socket) => void allOf(socket).then(sent.resolve));
    const clock = new ManualClock();
    const asked = new Asked(new HttpClient(server.origin, clock));
    asked.cancel();
    expect(clock.pending).toEqual([]);
    expect([await sent.promise, asked.late]).toEqual(["", 0]);
  });

  test("closes its connection while it waits for the head, and in the body", async () => {
    await using fake = await startFakeBackend();
    const client = clientOf(fake);
    const early = new Asked(client);
    const first = await fake.next();
    early.cancel();
    await first.closed;
    const late = new Asked(client);
    const second = await fake.next();
    second.raw("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\nhi");
    await late.headed;
    late.cancel();
    late.cancel();
    await second.closed;
    expect([early.late, late.late]).toEqual([0, 0]);
  });

  test("tells nothing of what came in the same read", async () => {
    await using fake = await startFakeBackend();
    const asked = new Asked(clientOf(fake), { onHead: () => asked.cancel() });
    const exchange = await fake.next();
    exchange.raw(HI);
    await exchange.closed;
    expect([asked.status, asked.bytes, asked.late]).toEqual([200, 0, 0]);
  });
});
