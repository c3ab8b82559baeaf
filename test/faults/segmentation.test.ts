import { describe, expect, test } from "bun:test";
import type { Flow } from "../support/cutting-proxy.ts";
import { eventsOf, textOf } from "./content.ts";
import { PLAIN_STREAM } from "../contract/promise.ts";
import { RawClient } from "./raw-client.ts";
import { startRig, type RigOptions } from "./rig.ts";

const SSE = { "content-type": "text/event-stream" };

/** One flow in both directions. */
function both(flow: Flow) {
  return { up: flow, down: flow };
}

const PLACES: { where: string; at: (flow: Flow) => RigOptions }[] = [
  { where: "between client and relay", at: (flow) => ({ client: both(flow) }) },
  { where: "between relay and worker", at: (flow) => ({ link: both(flow) }) },
  { where: "between worker and backend", at: (flow) => ({ backend: both(flow) }) },
  {
    where: "everywhere",
    at: (flow) => ({ client: both(flow), link: both(flow), backend: both(flow) }),
  },
];

const FLOWS: { how: string; flow: Flow }[] = [
  { how: "one byte at a time", flow: { split: 1 } },
  { how: "seven bytes at a time", flow: { split: 7 } },
  { how: "cut inside each character", flow: { split: "inside characters" } },
];

for (const { where, at } of PLACES) {
  describe(`A connection ${where}`, () => {
    for (const { how, flow } of FLOWS) {
      test(`carries request, stream and whole answer exactly ${how}`, async () => {
        await using rig = await startRig(at(flow));
        const content = textOf(7, 60);

        const streaming = await RawClient.chat(rig.port, { stream: true, content });
        const asked = await rig.backend.next();
        expect(asked.json()).toMatchObject({ model: "m", stream: true, content });
        const stream = eventsOf(1, 12).join("");
        asked.head(200, SSE);
        asked.write(stream);
        asked.end();
        expect((await streaming.answer()).equals(Buffer.from(stream))).toBe(true);

        const plain = await RawClient.chat(rig.port, { content });
        const again = await rig.backend.next();
        expect(again.json()).toMatchObject({ content });
        const body = JSON.stringify({ text: textOf(2, 300) });
        again.answer(200, body);
        expect((await plain.answer()).equals(Buffer.from(body))).toBe(true);
        expect([streaming.status, plain.status]).toEqual([200, 200]);
      }, 20_000);
    }
  });
}

describe("A slow connection", () => {
  test("carries everything exactly when it is throttled and delayed", async () => {
    const slow = { bytesPerSecond: 400_000, split: 4_096, delayMs: 1 };
    await using rig = await startRig({ client: both(slow), link: both(slow), backend: both(slow) });
    const client = await RawClient.chat(rig.port, { stream: true });
    const stream = eventsOf(3, 60, 300).join("");
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    asked.write(stream);
    asked.end();
    expect((await client.answer()).equals(Buffer.from(stream))).toBe(true);
  }, 20_000);
});

describe("A backend", () => {
  test("may write one byte at a time, and each event is passed on as soon as it is whole", async () => {
    await using rig = await startRig();
    const client = await RawClient.chat(rig.port, { stream: true });
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    let sent = "";
    for (const piece of eventsOf(4, 6)) {
      await asked.writeSplit(piece, 1);
      sent += piece;
      // The next event is not written before this one has come through.
      await client.until(() => client.received === Buffer.byteLength(sent));
    }
    asked.end();
    expect((await client.answer()).equals(Buffer.from(sent))).toBe(true);
  }, 20_000);

  test("may split a character over two writes with a pause in between: it is held back, never replaced", async () => {
    await using rig = await startRig();
    const client = await RawClient.chat(rig.port, PLAIN_STREAM);
    const asked = await rig.backend.next();
    asked.head(200, SSE);
    const [first = "", second = ""] = eventsOf(5, 2);
    asked.write(first);
    await client.until(() => client.received === Buffer.byteLength(first));
    const face = Buffer.from("🙂");
    for (let cut = 1; cut < face.length; cut++) {
      asked.write(Buffer.concat([Buffer.from("data: "), face.subarray(0, cut)]));
      const soFar = client.received + "data: ".length;
      await client.until(() => client.received >= soFar);
      expect(client.received).toBe(soFar);
      asked.write(Buffer.concat([face.subarray(cut), Buffer.from("\n\n")]));
      await client.until(() => client.received === soFar + face.length + 2);
    }
    asked.write(second);
    asked.end();
    await client.answer();
    expect(client.text).toBe(first + "data: 🙂\n\n".repeat(face.length - 1) + second);
  }, 20_000);
});
