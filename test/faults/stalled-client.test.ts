import { describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { startFakeBackend, type Exchange, type FakeBackend } from "../support/fake-backend.ts";
import { DONE, event, eventsOf, textOf } from "./content.ts";
import { startFleet, type Fleet } from "./processes.ts";
import { RawClient } from "./raw-client.ts";

const MIB = 1024 * 1024;
const BIG_BYTES = 50_000_000;
const OTHERS = 20;
const EVENTS = 40;
const SSE = { "content-type": "text/event-stream" };

/** Events of about 64 KiB, of `BIG_BYTES` in all. */
function bigEvents(): Buffer[] {
  const kinds = Array.from({ length: 8 }, (_, seed) => textOf(seed, 20_000));
  const events: Buffer[] = [];
  for (let bytes = 0; bytes < BIG_BYTES; bytes += events.at(-1)?.length ?? 0)
    events.push(Buffer.from(event(`${events.length} ${kinds[events.length % kinds.length]}`)));
  return [...events, Buffer.from(DONE)];
}

function hash(parts: Iterable<Buffer>): string {
  const sha = createHash("sha256");
  for (const part of parts) sha.update(part);
  return sha.digest("hex");
}

/** A stream whose client has read the first event and then nothing more. */
async function stall(fleet: Fleet, backend: FakeBackend): Promise<{ client: RawClient; asked: Exchange }> {
  const client = await RawClient.chat(fleet.port, { stream: true });
  const asked = await backend.next();
  asked.head(200, SSE);
  asked.write(event("first"));
  await client.until(() => client.text === event("first"));
  client.pause();
  return { client, asked };
}

/** One stream in lock step: an event is written when the one before has been read. */
async function paced(client: RawClient, asked: Exchange, seed: number): Promise<string> {
  asked.head(200, SSE);
  let sent = "";
  for (const piece of eventsOf(seed, EVENTS)) {
    asked.write(piece);
    sent += piece;
    await client.until(() => client.received === Buffer.byteLength(sent));
  }
  asked.end();
  return (await client.answer()).toString() === sent ? "exact" : "wrong";
}

async function startOthers(fleet: Fleet, backend: FakeBackend): Promise<Promise<string>[]> {
  const others: Promise<string>[] = [];
  for (let seed = 1; seed <= OTHERS; seed++) {
    const client = await RawClient.chat(fleet.port, { stream: true });
    others.push(paced(client, await backend.next(), seed));
  }
  return others;
}

async function writeAll(asked: Exchange, parts: Buffer[]): Promise<void> {
  for (const part of parts) {
    asked.write(part);
    await Promise.race([asked.flushed(), asked.closed]);
  }
  asked.end();
}

const V1 = ["--max-concurrency=64", "--link-version=v1"];
const V2 = ["--max-concurrency=256", "--link-version=auto"];
/** With the request's own body, which is held as well. */
const WINDOW = 257 * 1024;

describe("A client that stops reading, over v1,", () => {
  test("holds nobody up while 50 MB wait for it, and gets all of them when it reads again", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, { worker: V1 });
    const { client, asked } = await stall(fleet, backend);
    const before = fleet.relay.memory().now;
    const received = client.received;
    const big = bigEvents();
    const writing = writeAll(asked, big);
    const during = await startOthers(fleet, backend);
    expect(await Promise.all(during)).toEqual(Array(OTHERS).fill("exact"));
    await writing;
    // The worker has given all of it away, and still the client has read nothing.
    const load = await fleet.health<{ bytes_held: number; requests_in_flight: number }>(
      (health) => health.requests_in_flight === 0,
    );
    const after = await startOthers(fleet, backend);
    expect(await Promise.all(after)).toEqual(Array(OTHERS).fill("exact"));
    expect(client.received).toBe(received);
    expect(load.bytes_held).toBeWithin(20 * MIB, 64 * MIB);
    const { peak } = fleet.relay.memory();
    expect((peak - before) / MIB).toBeLessThan(192);

    client.resume();
    const body = await client.answer();
    expect(body.length).toBe(
      Buffer.byteLength(event("first")) + big.reduce((sum, part) => sum + part.length, 0),
    );
    expect(hash([body])).toBe(hash([Buffer.from(event("first")), ...big]));
    expect((await fleet.health(() => true))["bytes_held"]).toBe(0);
  }, 30_000);

  test("is cut off once more than --max-response-buffer waits for it, and others go on", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, {
      serve: ["--max-response-buffer=4MiB"],
      worker: V1,
    });
    const { client, asked } = await stall(fleet, backend);
    const others = await startOthers(fleet, backend);
    await writeAll(asked, bigEvents());
    await asked.closed;
    expect(await Promise.all(others)).toEqual(Array(OTHERS).fill("exact"));
    client.resume();
    expect(await client.ended).toBe("broken");
    expect(client.received).toBeLessThan(BIG_BYTES);
    const load = await fleet.health((health) => health["requests_in_flight"] === 0);
    expect([load["bytes_held"], load["workers_connected"]]).toEqual([0, 1]);
  }, 30_000);
});

describe("A client that stops reading, over v2,", () => {
  test("costs its window and no more, slows its backend, and gets everything when it reads again", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, { worker: V2 });
    const { client, asked } = await stall(fleet, backend);
    const big = bigEvents();
    let written = false;
    const writing = writeAll(asked, big).then(() => (written = true));
    for (let round = 0; round < 2; round++) {
      expect(await Promise.all(await startOthers(fleet, backend))).toEqual(Array(OTHERS).fill("exact"));
    }
    const { bytes_held: held } = await fleet.health<{ bytes_held: number }>(() => true);
    expect({ held: held <= WINDOW, written }).toEqual({ held: true, written: false });

    client.resume();
    const body = await client.answer();
    await writing;
    expect(hash([body])).toBe(hash([Buffer.from(event("first")), ...big]));
    expect((await fleet.health(() => true))["bytes_held"]).toBe(0);
  }, 30_000);

  test("200 of them cost 200 windows, and one that reads is not held up", async () => {
    await using backend = await startFakeBackend(["m"]);
    await using fleet = await startFleet(backend.url, { worker: V2 });
    const before = fleet.relay.memory().now;
    const stalled: { client: RawClient; asked: Exchange }[] = [];
    for (let count = 0; count < 200; count++) stalled.push(await stall(fleet, backend));
    // More than the kernel's buffers and the runtime's take for a client that does not read.
    const part = Buffer.from(event(textOf(1, 60_000)));
    const parts = Array.from({ length: 160 }, () => part);
    for (const { asked } of stalled) void writeAll(asked, parts);
    const others = await startOthers(fleet, backend);
    expect(await Promise.all(others)).toEqual(Array(OTHERS).fill("exact"));
    const { bytes_held: held } = await fleet.health<{ bytes_held: number }>(() => true);
    expect(held).toBeLessThanOrEqual(200 * WINDOW);
    // 200 windows are 50 MiB; what passed through on the way there is given back in a while.
    while ((fleet.relay.memory().now - before) / MIB > 112) await fleet.health(() => true);
    for (const { client } of stalled) client.leave("reset");
    await fleet.health((health) => health["requests_in_flight"] === 0);
    expect((await fleet.health(() => true))["bytes_held"]).toBe(0);
  }, 60_000);
});
