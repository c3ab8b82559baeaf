import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { once } from "node:events";
import type { Socket } from "node:net";
import { CHAT } from "../contract/promise.ts";
import {
  END_HEADERS,
  END_STREAM,
  fields,
  frame,
  framesOf,
  head,
  isOk,
  PREFACE,
  request,
  text,
  TYPE,
  type Field,
  type Frame,
} from "./h2-frames.ts";
import { BODY } from "./hostile-requests.ts";
import { startHostileRig, type HostileRig } from "./hostile-rig.ts";

let rig: HostileRig;
beforeAll(async () => void (rig = await startHostileRig()));
afterAll(() => rig[Symbol.asyncDispose]());

/** A connection on which the preface has been sent. */
async function open(): Promise<Socket> {
  const socket = rig.doors.HTTPS.dial("h2");
  await once(socket, "secureConnect");
  socket.write(PREFACE);
  return socket;
}

/** Writes bytes and reads until `enough` holds for the frames that came, or the relay has closed. */
async function framesAfter(
  socket: Socket,
  bytes: Buffer,
  enough: (frame: Frame) => boolean,
): Promise<{ frames: Frame[]; closed: boolean }> {
  let received = Buffer.alloc(0);
  const ended = Promise.withResolvers<boolean>();
  socket.on("data", (data: Buffer) => {
    received = Buffer.concat([received, data]);
    if (framesOf(received).some(enough)) ended.resolve(false);
  });
  socket.once("close", () => ended.resolve(true));
  socket.write(bytes);
  const closed = await ended.promise;
  return { frames: framesOf(received), closed };
}

const onStream = (stream: number) => (one: Frame) =>
  one.stream === stream && (one.type === TYPE.headers || one.type === TYPE.reset);

const get = request("GET", "/livez");
const post = (...more: Field[]) => [...request("POST", CHAT), ...more];
const body = frame(TYPE.data, END_STREAM, 1, Buffer.from(BODY));
const withBody = (...more: Field[]) => Buffer.concat([head(post(...more), END_HEADERS), body]);

/** Requests that a translation to HTTP/1.1 would make two of, and others that are none (RFC 9113 §8.2, §8.3). */
const MALFORMED: Record<string, Buffer> = {
  "a line break in a value": head([...get, ["x", "a\r\nX-Evil: b"]]),
  "a bare LF in a value": head([...get, ["x", "a\nb"]]),
  "NUL in a value": head([...get, ["x", "a\u0000b"]]),
  "a line break in a name": head([...get, ["x\ny", "a"]]),
  "a colon in a name": head([...get, ["x:y", "a"]]),
  "a space in a name": head([...get, ["x y", "a"]]),
  "a capital in a name": head([...get, ["X", "a"]]),
  "a space before a value": head([...get, ["x", " a"]]),
  "transfer-encoding": Buffer.concat([head(post(["transfer-encoding", "chunked"]), END_HEADERS), body]),
  connection: head([...get, ["connection", "x"]]),
  "te other than trailers": head([...get, ["te", "chunked"]]),
  "a request line as the path": head(request("GET", "/livez HTTP/1.1\r\nX: y")),
  "an empty path": head(request("GET", "")),
  "a path without a slash": head(request("GET", "livez")),
  "two slashes": head(request("GET", "//livez")),
  "a line break in the method": head(request("GET\r\n", "/livez")),
  "two paths": head([...get, [":path", "/health"]]),
  "a path behind the fields": head([...get.slice(0, 3), ["x", "y"], [":path", "/livez"]]),
  "no path": head(get.slice(0, 3)),
  "a line break in the authority": head([...get.slice(0, 2), [":authority", "a\r\nb"], [":path", "/livez"]]),
  "another Host": head([...get, ["host", "other.test"]]),
  "a WebSocket": head([...request("CONNECT", "/v1/worker/connect"), [":protocol", "websocket"]]),
  "more body than its length": withBody(["content-length", "3"]),
  "less body than its length": withBody(["content-length", "300"]),
  "two lengths": withBody(["content-length", String(BODY.length)], ["content-length", "3"]),
  "a length that is none": withBody(["content-length", `+${BODY.length}`]),
  "a length and no body": head(post(["content-length", "3"])),
};

const many = (count: number, make: (n: number) => Buffer) =>
  Buffer.concat(Array.from({ length: count }, (_, n) => make(n)));
const increment = (by: number) =>
  Buffer.of((by >>> 24) & 0x7f, (by >>> 16) & 255, (by >>> 8) & 255, by & 255);

/** What ends a connection at once. */
const FATAL: Record<string, Buffer> = {
  "a frame of 16 MB": Buffer.concat([Buffer.of(0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1), Buffer.alloc(20_000)]),
  "a head of 20 KB": frame(
    TYPE.headers,
    END_STREAM | END_HEADERS,
    1,
    fields([...get, ["x", "a".repeat(20_000)]]),
  ),
  "5 MB of continuations": Buffer.concat([
    frame(TYPE.headers, 0, 1, fields(get)),
    many(320, () => frame(TYPE.continuation, 0, 1, fields([["x", "a".repeat(16_000)]]))),
  ]),
  "100,000 empty continuations": Buffer.concat([
    frame(TYPE.headers, 0, 1, fields(get)),
    many(100_000, () => frame(TYPE.continuation, 0, 1)),
  ]),
  // A field of 3.9 KB that is remembered, then named by one octet each time.
  "a head that unpacks to 62 MB": Buffer.concat([
    frame(
      TYPE.headers,
      0,
      1,
      Buffer.concat([fields(get), Buffer.of(0x40), text("x"), text("a".repeat(3_900))]),
    ),
    many(1, () => frame(TYPE.continuation, END_HEADERS, 1, Buffer.alloc(16_000, 0xbe))),
  ]),
  "a window of nothing": frame(TYPE.window, 0, 0, increment(0)),
  "a window over 2^31": many(2, () => frame(TYPE.window, 0, 0, increment(0x7fff_ffff))),
  "data on stream 0": frame(TYPE.data, 0, 0, Buffer.of(1)),
  "an even stream": head(get, END_STREAM | END_HEADERS, 2),
  garbage: Buffer.from(Array.from({ length: 3_000 }, (_, n) => (n * 7_919 + 13) % 256)),
};

/** What a client sends over and over without reading an answer. */
const FLOODS: Record<string, (round: number) => Buffer> = {
  pings: () => many(1_000, () => frame(TYPE.ping, 0, 0, Buffer.alloc(8))),
  settings: () => many(1_000, () => frame(TYPE.settings, 0, 0)),
  "requests that it takes back": (round) =>
    many(100, (n) => {
      const stream = 1 + 2 * (100 * round + n);
      return Buffer.concat([
        head(post(), END_HEADERS, stream),
        frame(TYPE.reset, 0, stream, Buffer.of(0, 0, 0, 8)),
      ]);
    }),
  "requests that are refused": (round) =>
    many(100, (n) => head([...get, ["X", "y"]], END_STREAM | END_HEADERS, 1 + 2 * (100 * round + n))),
};

const MAX_FLOOD = 200_000_000;

describe("Hostile frames over HTTP/2", () => {
  test("are told from a proper request", async () => {
    const socket = await open();
    const { frames } = await framesAfter(
      socket,
      withBody(["content-length", String(BODY.length)]),
      onStream(1),
    );
    expect(frames.some(isOk)).toBe(true);
    socket.destroy();
    expect(rig.given.length).toBe(1);
    await rig.settled();
  });

  test("of malformed requests are refused for themselves: the connection serves on, the worker sees none", async () => {
    const before = rig.given.length;
    for (const [name, bytes] of Object.entries(MALFORMED)) {
      const socket = await open();
      const { frames, closed } = await framesAfter(socket, bytes, onStream(1));
      expect({ name, ok: frames.some(isOk), closed }).toEqual({ name, ok: false, closed: false });
      const next = await framesAfter(socket, head(get, END_STREAM | END_HEADERS, 3), onStream(3));
      expect({ name, next: next.frames.some(isOk) }).toEqual({ name, next: true });
      socket.destroy();
    }
    expect(rig.given.length - before).toBe(0);
    await rig.settled();
  });

  test("that no client may send end the connection, and the relay serves others", async () => {
    for (const [name, bytes] of Object.entries(FATAL)) {
      const socket = await open();
      const { frames, closed } = await framesAfter(socket, bytes, isOk);
      expect({ name, ok: frames.some(isOk), closed }).toEqual({ name, ok: false, closed: true });
      await rig.ask(rig.doors.HTTPS);
    }
    await rig.settled();
  });

  for (const [name, make] of Object.entries(FLOODS)) {
    test(`in a flood of ${name}, with no answer read, end the connection, and the relay serves others meanwhile`, async () => {
      const socket = await open();
      socket.pause();
      const closed = Promise.withResolvers<void>();
      socket.once("close", () => closed.resolve());
      let sent = 0;
      for (let round = 0; !socket.destroyed && sent < MAX_FLOOD; round += 1) {
        const bytes = make(round);
        sent += bytes.length;
        if (!socket.write(bytes))
          await Promise.race([new Promise((resolve) => socket.once("drain", resolve)), closed.promise]);
        if (round % 50 === 0) await rig.ask(rig.doors.HTTPS);
      }
      expect(sent).toBeLessThan(MAX_FLOOD);
      await closed.promise;
      await rig.settled();
    });
  }

  test("of more streams than may be open are refused, and the relay serves others", async () => {
    const before = rig.given.length;
    const socket = await open();
    const opened = many(1_000, (n) => head(post(), END_HEADERS, 1 + 2 * n));
    const { frames, closed } = await framesAfter(
      socket,
      opened,
      ({ type, stream }) => type === TYPE.reset && stream === 1_999,
    );
    expect(closed).toBe(false);
    expect(frames.filter(({ type }) => type === TYPE.reset).length).toBeGreaterThanOrEqual(744);
    await rig.ask(rig.doors.HTTPS);
    socket.destroy();
    await rig.settled();
    expect(rig.given.length - before).toBe(1);
  });
});
