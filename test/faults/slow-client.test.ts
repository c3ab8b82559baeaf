import { describe, expect, test } from "bun:test";
import { CHAT } from "../contract/promise.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { textOf } from "./content.ts";
import { postHead, RawClient } from "./raw-client.ts";
import { startRig, type Rig } from "./rig.ts";

/** The connection's own silence is not watched by the injected clock; the body's progress is. */
async function slowRig(): Promise<{ rig: Rig; clock: ManualClock }> {
  const clock = new ManualClock();
  return { rig: await startRig({ relayClock: clock, relay: { requestTimeoutMs: 0 } }), clock };
}

const CHUNKED_HEAD = `POST ${CHAT} HTTP/1.1\r\nhost: relay.test\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n`;

function chunk(data: Buffer): Buffer {
  return Buffer.concat([Buffer.from(`${data.length.toString(16)}\r\n`), data, Buffer.from("\r\n")]);
}

describe("A client that sends its request slowly", () => {
  test("may take minutes at 5 KB/s: its body arrives whole", async () => {
    const { rig, clock } = await slowRig();
    await using _ = rig;
    const client = await RawClient.connect(rig.port);
    const body = Buffer.from(JSON.stringify({ model: "m", text: textOf(1, 400_000) }));
    client.write(CHUNKED_HEAD);
    let sent = 0;
    while (sent < body.length) {
      const piece = body.subarray(sent, sent + 50_000);
      client.write(chunk(piece));
      sent += piece.length;
      await rig.health((health) => health["bytes_held"] === sent);
      clock.advance(10_000);
    }
    expect(clock.now()).toBeGreaterThan(180_000);
    client.write("0\r\n\r\n");
    const asked = await rig.backend.next();
    expect(asked.body.equals(body)).toBe(true);
    asked.answer(200, { slow: true });
    expect((await client.answer()).toString()).toBe('{"slow":true}');
  }, 20_000);

  test("may dribble head and body in single bytes", async () => {
    await using rig = await startRig();
    const client = await RawClient.connect(rig.port);
    const body = JSON.stringify({ model: "m", text: textOf(2, 30) });
    for (const byte of Buffer.from(postHead(Buffer.byteLength(body)) + body)) {
      client.write(Buffer.of(byte));
      await new Promise((resolve) => setImmediate(resolve));
    }
    const asked = await rig.backend.next();
    expect(asked.body.toString()).toBe(body);
    asked.answer(200, {});
    expect((await client.answer()).toString()).toBe("{}");
  });

  test("is told 408 once it has sent next to nothing for two minutes, and holds nothing any more", async () => {
    const { rig, clock } = await slowRig();
    await using _ = rig;
    const client = await RawClient.connect(rig.port);
    const begun = '{"model":"m",';
    client.write(postHead(500_000) + begun);
    await rig.health((health) => health["bytes_held"] === begun.length);
    clock.advance(119_999);
    expect((await rig.health(() => true))["bytes_held"]).toBe(begun.length);
    clock.advance(1);
    await client.head();
    expect(client.status).toBe(408);
    await rig.health((health) => health["bytes_held"] === 0);
    expect(rig.backend.exchanges.items).toEqual([]);
  });

  test("is told 408 when it slows down to less than 1 KiB/s on the whole", async () => {
    const { rig, clock } = await slowRig();
    await using _ = rig;
    const client = await RawClient.connect(rig.port);
    client.write(CHUNKED_HEAD);
    client.write(chunk(Buffer.alloc(140_000, " ")));
    await rig.health((health) => health["bytes_held"] === 140_000);
    // 140,000 bytes are enough for 120 s, and for no more than 136 s.
    clock.advance(120_000);
    expect((await rig.health(() => true))["bytes_held"]).toBe(140_000);
    clock.advance(30_000);
    await client.head();
    expect(client.status).toBe(408);
    await rig.health((health) => health["bytes_held"] === 0);
  });
});
