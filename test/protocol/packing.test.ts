import { describe, expect, test } from "bun:test";
import { createInflateRaw } from "node:zlib";
import { Channel } from "../../src/protocol/channel.ts";
import { FRAME } from "../../src/protocol/frames.ts";
import { CLOSE, V2_MAX_UNPACKED } from "../../src/protocol/limits.ts";
import { ProtocolError } from "../../src/protocol/messages.ts";
import { Packer, Unpacker } from "../../src/protocol/packing.ts";
import { forSeeds } from "../fuzz/random.ts";
import { frameOf, framesIn, joined, type Bytes } from "../fuzz/wire.ts";

function token(n: number): Buffer {
  return Buffer.from(
    `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1767225600,"model":"llama3.1","choices":[{"index":0,"delta":{"content":" w${n * n}"},"finish_reason":null}]}\n\n`,
  );
}

function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  crypto.getRandomValues(bytes);
  return bytes;
}

/** Payload of the one packed frame in a message; `undefined` if it was left as it is. */
function packedIn(message: Bytes): Bytes | undefined {
  const [first, ...more] = framesIn(message);
  return first?.type === FRAME.packed && more.length === 0 ? new Uint8Array(first.payload) : undefined;
}

describe("Packing", () => {
  test("makes one DEFLATE stream of which each piece can be read at once, a fifth as long for tokens", async () => {
    const packer = new Packer();
    const inflate = createInflateRaw();
    const read: Buffer[] = [];
    inflate.on("data", (part: Buffer) => read.push(part));
    let [before, after] = [0, 0];
    for (let n = 0; n < 300; n++) {
      const frame = frameOf(FRAME.body, 1, token(n));
      const payload = packedIn(packer.pack(frame));
      expect(payload).toBeDefined();
      await new Promise((resolve) => inflate.write(payload!, resolve));
      // Nothing of this token waits for the next one.
      expect(Buffer.concat(read.splice(0)).equals(frame)).toBe(true);
      before += frame.length;
      after += payload!.length + 8;
    }
    expect(after).toBeLessThan(before / 5);
  });

  test("leaves as it is what would not be shorter, or is longer than may be", () => {
    const packer = new Packer();
    const unpacker = new Unpacker();
    for (const frames of [
      frameOf(FRAME.ack, 0, Buffer.alloc(8)),
      frameOf(FRAME.body, 1, noise(60_000)),
      frameOf(FRAME.control, 0, Buffer.alloc(V2_MAX_UNPACKED)),
    ]) {
      expect(packer.pack(frames)).toBe(frames);
      // What was left is no part of the stream.
      const next = frameOf(FRAME.body, 1, token(1));
      expect(Buffer.compare(unpacker.unpack(packedIn(packer.pack(next))!), next)).toBe(0);
    }
  });

  test("refuses what grows beyond the limit, before it has", () => {
    const before = process.memoryUsage.rss();
    const bomb = Bun.deflateSync(Buffer.alloc(400 * 1024 * 1024));
    const made = process.memoryUsage.rss();
    let thrown: unknown;
    try {
      new Unpacker().unpack(bomb);
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toBeInstanceOf(ProtocolError);
    expect((thrown as ProtocolError).closeCode).toBe(CLOSE.tooLarge);
    expect(process.memoryUsage.rss()).toBeLessThan(Math.max(before, made) + 32 * 1024 * 1024);
  });
});

/** One end that packs, with its carrier's other side in hand. */
class End {
  readonly taken: string[] = [];
  sent: Bytes[] = [];
  #flushes: (() => void)[] = [];
  readonly channel = new Channel({
    schedule: (flush) => void this.#flushes.push(flush),
    frame: (type, request, payload) =>
      void this.taken.push(`${type} ${request} ${Bun.hash(payload).toString(36)}`),
    overflowed(error) {
      throw error;
    },
  });

  constructor() {
    this.channel.attach(this.carrier);
    this.channel.startPacking();
  }

  readonly carrier = { send: (message: Bytes) => void this.sent.push(new Uint8Array(message)) };

  out(): Bytes {
    for (const flush of this.#flushes.splice(0)) flush();
    return joined(this.sent.splice(0));
  }
}

describe("Two ends that pack", () => {
  test("get every frame once and in order, whatever it is and wherever the carrier is cut", () => {
    forSeeds(60, (random) => {
      const ends = [new End(), new End()] as const;
      const said: string[][] = [[], []];
      for (let step = 0; step < 120; step++) {
        const from = random.below(2);
        const [sender, receiver] = [ends[from]!, ends[1 - from]!];
        if (random.below(12) === 0) {
          // What is on its way is lost, all or from some byte on.
          const lost = sender.out();
          receiver.channel.receive(lost.subarray(0, random.below(lost.length + 1)));
          for (const end of ends) {
            end.out();
            end.channel.detach();
          }
          const [one, other] = ends.map(({ channel }) => channel.received) as [number, number];
          ends[0].channel.resume(ends[0].carrier, other);
          ends[1].channel.resume(ends[1].carrier, one);
          continue;
        }
        for (let count = random.below(4); count > 0; count--) {
          const payload = random.below(4) === 0 ? noise(random.below(5_000)) : token(random.below(50));
          sender.channel.send(FRAME.body, step, payload);
          said[from]!.push(`${FRAME.body} ${step} ${Bun.hash(new Uint8Array(payload)).toString(36)}`);
        }
        const bytes = sender.out();
        const cut = random.below(bytes.length + 1);
        receiver.channel.receive(bytes.subarray(0, cut));
        receiver.channel.receive(bytes.subarray(cut));
      }
      ends[1].channel.receive(ends[0].out());
      ends[0].channel.receive(ends[1].out());
      expect(ends[1].taken).toEqual(said[0]!);
      expect(ends[0].taken).toEqual(said[1]!);
    });
  });
});
