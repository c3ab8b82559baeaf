import { createHash } from "node:crypto";
import type { Socket } from "node:net";
import { describe, expect, test } from "bun:test";
import { systemClock } from "../../../src/base/clock.ts";
import { HttpClient } from "../../../src/worker/http/http-client.ts";
import { Random } from "../../fuzz/random.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { Asked, listen } from "./asked.ts";

const MiB = 1024 * 1024;
const HI = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";

const digest = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex");

/** What a server has read of a body that stands behind its head. */
class Reading {
  readonly #hash = createHash("sha256");
  #head = "";
  bytes = 0;

  take(data: Buffer): void {
    let body = data;
    if (!this.#head.includes("\r\n\r\n")) {
      const before = this.#head.length;
      this.#head += data.toString("latin1");
      const end = this.#head.indexOf("\r\n\r\n");
      body = end < 0 ? Buffer.alloc(0) : data.subarray(end + 4 - before);
    }
    this.bytes += body.length;
    this.#hash.update(body);
  }

  digest(): string {
    return this.#hash.digest("hex");
  }
}

describe("Body of a request", () => {
  test.each([100, 64 * 1024, 64 * 1024 + 1, 16 * MiB])(
    "of %d bytes arrives as it is at a server that reads slowly",
    async (length) => {
      const body = new Random(length).bytes(length);
      const reading = new Reading();
      await using server = await listen((socket) => {
        socket.on("data", (data: Buffer) => {
          reading.take(data);
          if (reading.bytes === length) socket.write(HI);
          socket.pause();
          setImmediate(() => socket.resume());
        });
      });
      const client = new HttpClient(server.origin, systemClock);
      expect((await new Asked(client, { body }).outcome).body).toBe("hi");
      expect([reading.bytes, reading.digest()]).toEqual([length, digest(body)]);
      client.close();
    },
  );

  test("is not sent to its end when the answer is there before, and the connection is closed", async () => {
    const sockets: Socket[] = [];
    const closed = Promise.withResolvers<void>();
    await using server = await listen((socket) => {
      sockets.push(socket);
      socket.once("data", () => {
        socket.pause();
        socket.write("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno");
      });
      socket.once("close", closed.resolve);
    });
    // By this clock no connection is ever closed for being quiet.
    const client = new HttpClient(server.origin, new ManualClock());
    const asked = new Asked(client, { body: new Uint8Array(64 * MiB) });
    expect(await asked.outcome).toEqual({ status: 413, body: "no", error: undefined });
    let read = 0;
    sockets[0]!.on("data", (data: Buffer) => (read += data.length)).resume();
    await closed.promise;
    expect(read).toBeLessThan(64 * MiB);
    expect((await new Asked(client).outcome).status).toBe(413);
    expect(sockets.length).toBe(2);
    client.close();
  });

  test("is answered even if the server closes at once with the rest unread", async () => {
    await using server = await listen((socket) => {
      socket.once("data", () => {
        socket.pause();
        socket.end("HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno", () => socket.destroy());
      });
    });
    const asked = new Asked(new HttpClient(server.origin, systemClock), { body: new Uint8Array(8 * MiB) });
    expect((await asked.outcome).status).toBe(413);
  });
});

describe("Paused answer", () => {
  const BODY = 64 * MiB;

  test.each([
    ["of a known length", `content-length: ${BODY}\r\n`],
    ["that the end of the connection ends", "connection: close\r\n"],
  ])("holds back a server, and comes whole after that, %s", async (_, field) => {
    const body = new Random(1).bytes(BODY);
    let written = false;
    await using server = await listen((socket) => {
      socket.once("data", () => {
        socket.write(`HTTP/1.1 200 OK\r\n${field}\r\n`);
        socket.end(body, () => (written = true));
      });
    });
    await using other = await listen((socket) => socket.on("data", () => socket.write(HI)));
    const asked = new Asked(new HttpClient(server.origin, systemClock), { onHead: (call) => call.pause() });
    await asked.headed;
    // As many turns of the event loop as would bring more than is allowed.
    const client = new HttpClient(other.origin, systemClock);
    for (let turn = 0; turn < 300; turn++) await new Asked(client).outcome;
    client.close();
    expect(asked.bytes).toBeLessThan(MiB);
    expect(written).toBe(false);
    asked.call.resume();
    expect((await asked.outcome).error).toBeUndefined();
    expect(digest(Buffer.concat(asked.parts))).toBe(digest(body));
  });

  test("may be paused before the connection is there", async () => {
    await using server = await listen((socket) => socket.on("data", () => socket.write(HI)));
    await using other = await listen((socket) => socket.on("data", () => socket.write(HI)));
    const held = new HttpClient(server.origin, systemClock);
    const asked = new Asked(held);
    asked.call.pause();
    const client = new HttpClient(other.origin, systemClock);
    for (let turn = 0; turn < 50; turn++) await new Asked(client).outcome;
    client.close();
    expect(asked.status).toBeUndefined();
    asked.call.resume();
    expect((await asked.outcome).body).toBe("hi");
    held.close();
  });
});
