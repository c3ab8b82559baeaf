import { describe, expect, test } from "bun:test";
import { Channel } from "../../src/protocol/channel.ts";
import { FRAME, isCounted } from "../../src/protocol/frames.ts";
import {
  CLOSE,
  V2_ACK_BYTES,
  V2_ACK_FRAMES,
  V2_MAX_BODY,
  V2_UNACKED_LIMIT,
} from "../../src/protocol/limits.ts";
import { ProtocolError } from "../../src/protocol/messages.ts";
import { forSeeds, Random } from "../fuzz/random.ts";
import { ackFrame, frameOf, framesIn, joined, type Bytes, type Taken } from "../fuzz/wire.ts";

/** A payload that begins with the number and is filled with it. */
function numbered(number: number, length: number): Buffer {
  const payload = Buffer.alloc(length, number & 0xff);
  payload.writeUInt32BE(number);
  return payload;
}

/** One end with its carrier's other side in hand. */
class End {
  readonly taken: Taken[] = [];
  overflow: ProtocolError | undefined;
  sent: Bytes[] = [];
  #flushes: (() => void)[] = [];
  readonly channel = new Channel({
    schedule: (flush) => void this.#flushes.push(flush),
    frame: (type, request, payload) =>
      void this.taken.push({ type, request, payload: new Uint8Array(payload) }),
    overflowed: (error) => void (this.overflow ??= error),
  });

  constructor() {
    this.channel.attach(this.carrier());
  }

  carrier(): { send(message: Bytes): void } {
    return { send: (message) => void this.sent.push(new Uint8Array(message)) };
  }

  /** What has left since the last time. */
  out(): Bytes {
    for (const flush of this.#flushes.splice(0)) flush();
    return joined(this.sent.splice(0));
  }

  /** The same, acknowledgements left out, as numbers of its payloads. */
  numbers(): number[] {
    return framesIn(this.out())
      .filter(({ type }) => type !== FRAME.ack)
      .map(({ payload }) => Buffer.from(payload).readUInt32BE());
  }

  sendNumber(number: number, length = 4): void {
    this.channel.send(FRAME.body, 1, numbered(number, length));
  }
}

function errorOf(act: () => void): ProtocolError {
  try {
    act();
  } catch (error) {
    expect(error).toBeInstanceOf(ProtocolError);
    return error as ProtocolError;
  }
  throw new Error("Nothing was thrown");
}

/** Numbers from `first` to `last`. */
function range(first: number, last: number): number[] {
  return Array.from({ length: Math.max(0, last - first + 1) }, (_, index) => first + index);
}

const FRAMES = 40;

/** Sends `FRAMES` counted frames of every size, with pings between them, in messages as they fall. */
function sendAll(end: End, random: Random): void {
  for (let number = 1; number <= FRAMES; number++) {
    end.sendNumber(number, random.pick([4, 5, 900, 20_000, V2_MAX_BODY]));
    if (random.oneIn(3)) end.channel.send(FRAME.ping, 0, new Uint8Array(8));
    if (random.oneIn(3)) end.out();
  }
}

describe("A channel", () => {
  test("hands frames that are ready together over together", () => {
    const end = new End();
    for (const number of range(1, 50)) end.sendNumber(number);
    expect(end.sent).toHaveLength(0);
    expect(framesIn(end.out())).toHaveLength(50);
  });

  test("goes on after every count that is possible, and after another cut at once", () => {
    for (const kept of [0, 1, 17, FRAMES]) {
      for (const count of range(kept, FRAMES)) {
        const end = new End();
        sendAll(end, new Random(7));
        end.out();
        end.channel.receive(ackFrame(kept));
        end.channel.detach();
        end.channel.resume(end.carrier(), count);
        expect(end.numbers()).toEqual(range(count + 1, FRAMES));
        end.channel.detach();
        end.sendNumber(FRAMES + 1);
        const later = count + Math.floor((FRAMES - count) / 2);
        end.channel.resume(end.carrier(), later);
        expect(end.numbers()).toEqual(range(later + 1, FRAMES + 1));
      }
    }
  });

  test("sends nothing again that is about a lost carrier, and keeps what is said without one", () => {
    const end = new End();
    end.channel.send(FRAME.ping, 0, new Uint8Array(8));
    end.sendNumber(1);
    end.channel.detach();
    end.channel.send(FRAME.ping, 0, new Uint8Array(8));
    end.sendNumber(2);
    end.channel.resume(end.carrier(), 0);
    expect(framesIn(end.out()).map(({ type }) => type)).toEqual([FRAME.body, FRAME.body]);
  });

  test("sends its greeting before anything else", () => {
    const end = new End();
    end.sendNumber(1);
    end.channel.detach();
    const carrier = end.carrier();
    end.channel.resume(carrier, 0, () => carrier.send(frameOf(FRAME.resumed)));
    expect(framesIn(end.out()).map(({ type }) => type)).toEqual([FRAME.resumed, FRAME.body]);
  });

  test("goes on over another carrier while it has one, and sends nothing more over that", () => {
    const end = new End();
    const frame = frameOf(FRAME.body, 1, Buffer.alloc(4));
    end.sendNumber(1);
    end.out();
    end.channel.receive(frame.slice(0, 9));
    end.sendNumber(2);
    const newer: Bytes[] = [];
    end.channel.resume({ send: (message) => void newer.push(new Uint8Array(message)) }, 1);
    expect(end.out()).toHaveLength(0);
    expect(framesIn(joined(newer)).map(({ payload }) => payload[3])).toEqual([2]);
    end.channel.receive(frame);
    expect(end.taken).toHaveLength(1);
  });

  test("stays with the carrier that it has when it cannot go on over another", () => {
    const end = new End();
    const frame = frameOf(FRAME.body, 1, Buffer.alloc(4));
    end.channel.receive(frame.slice(0, 9));
    expect(() => end.channel.resume({ send() {} }, 1)).toThrow("0 to 0 are possible");
    end.channel.receive(frame.slice(9));
    expect(end.taken).toHaveLength(1);
    end.sendNumber(1);
    expect(end.numbers()).toEqual([1]);
  });

  test("forgets the half of a frame that a lost carrier brought", () => {
    const end = new End();
    const frame = frameOf(FRAME.body, 1, Buffer.alloc(4));
    end.channel.receive(frame.slice(0, 10));
    end.channel.detach();
    end.channel.resume(end.carrier(), 0);
    end.channel.receive(frame);
    expect(end.taken).toHaveLength(1);
    expect(end.channel.received).toBe(1);
  });

  test("counts the same frames as the other end, whatever is sent and cut", () => {
    forSeeds(60, (random) => {
      const here = new End();
      const there = new End();
      let next = 1;
      for (let turn = 0; turn < 300; turn++) {
        if (random.oneIn(8)) {
          const lost = here.out();
          there.channel.receive(lost.slice(0, random.below(lost.length)));
          there.out();
          here.channel.detach();
          there.channel.detach();
          const count = there.channel.received;
          there.channel.resume(there.carrier(), here.channel.received);
          here.channel.resume(here.carrier(), count);
        } else if (random.oneIn(2)) here.sendNumber(next++, random.pick([4, 100, 9_000, 30_000]));
        else for (const piece of random.split(here.out())) there.channel.receive(piece);
        const back = there.out();
        if (random.oneIn(2)) here.channel.receive(back);
        else if (back.length > 0) {
          // Lost with its carrier, which is all that an acknowledgement can come to.
          there.channel.detach();
          here.channel.detach();
          here.out();
          there.channel.resume(there.carrier(), here.channel.received);
          here.channel.resume(here.carrier(), there.channel.received);
        }
      }
      there.channel.receive(here.out());
      expect(there.taken).toHaveLength(next - 1);
      for (const [index, { payload }] of there.taken.entries()) {
        if (numbered(index + 1, payload.length).equals(payload)) continue;
        throw new Error(`Frame ${index + 1} is not what was sent`);
      }
    });
  });

  test("acknowledges after so many frames or so many bytes, and when it is asked to", () => {
    const end = new End();
    const small = frameOf(FRAME.body, 1);
    for (const _ of range(1, V2_ACK_FRAMES - 1)) end.channel.receive(small);
    expect(end.out()).toHaveLength(0);
    end.channel.receive(small);
    expect(end.out()).toEqual(ackFrame(V2_ACK_FRAMES));
    end.channel.receive(frameOf(FRAME.body, 1, new Uint8Array(V2_ACK_BYTES - 8)));
    expect(end.out()).toEqual(ackFrame(V2_ACK_FRAMES + 1));
    end.channel.receive(small);
    end.channel.acknowledge();
    expect(end.out()).toEqual(ackFrame(V2_ACK_FRAMES + 2));
    end.channel.acknowledge();
    expect(end.out()).toHaveLength(0);
  });

  test("lets go of what is acknowledged", () => {
    const end = new End();
    sendAll(end, new Random(3));
    end.out();
    expect(end.channel.unacked).toBeGreaterThan(100_000);
    end.channel.receive(ackFrame(FRAMES));
    expect(end.channel.unacked).toBe(0);
  });

  const wrongCounts: [string, number | bigint][] = [
    ["goes backwards", 4],
    ["is beyond what was sent", FRAMES + 1],
    ["is larger than numbers are", 2n ** 64n - 1n],
  ];
  for (const [what, count] of wrongCounts) {
    test(`refuses an acknowledgement that ${what}`, () => {
      const end = new End();
      sendAll(end, new Random(5));
      end.out();
      end.channel.receive(ackFrame(5));
      const error = errorOf(() => end.channel.receive(ackFrame(count)));
      expect(error.closeCode).toBe(CLOSE.protocol);
      expect(error.message).toMatch(/acknowledgement of \d+ frames: 5 to 40 are possible$/);
    });
  }

  test("refuses an acknowledgement of what it has written and not sent", () => {
    const end = new End();
    end.sendNumber(1);
    expect(errorOf(() => end.channel.receive(ackFrame(1))).message).toContain("0 to 0 are possible");
  });

  test("takes the same acknowledgement twice", () => {
    const end = new End();
    end.sendNumber(1);
    end.out();
    end.channel.receive(ackFrame(1));
    end.channel.receive(ackFrame(1));
    expect(end.channel.unacked).toBe(0);
  });

  test("refuses an acknowledgement that is no number of eight bytes", () => {
    const error = errorOf(() => new End().channel.receive(frameOf(FRAME.ack, 0, new Uint8Array(7))));
    expect([error.closeCode, error.message]).toEqual([
      CLOSE.protocol,
      "Cannot read an acknowledgement: it has eight bytes",
    ]);
  });

  for (const count of [4, FRAMES + 1, -1, 6.5, Number.NaN, 2 ** 53]) {
    test(`does not go on after ${count} frames of ${FRAMES}, of which 5 are acknowledged`, () => {
      const end = new End();
      sendAll(end, new Random(5));
      end.out();
      end.channel.receive(ackFrame(5));
      end.channel.detach();
      const error = errorOf(() => end.channel.resume(end.carrier(), count));
      expect(error.closeCode).toBe(CLOSE.protocol);
      expect(end.channel.attached).toBe(false);
      // Another attempt with a count that can be is as good as the first.
      end.channel.resume(end.carrier(), 5);
      expect(end.numbers()).toEqual(range(6, FRAMES));
    });
  }

  for (const length of [4, 1_000, V2_MAX_BODY]) {
    test(`ends with 4004 when a peer acknowledges none of its frames of ${length} bytes`, () => {
      const end = new End();
      let held = 0;
      for (let number = 1; end.overflow === undefined && number < 1_000_000; number++) {
        held = end.channel.unacked;
        end.sendNumber(number, length);
        end.out();
      }
      expect(held).toBeLessThanOrEqual(V2_UNACKED_LIMIT);
      expect(end.overflow?.closeCode).toBe(CLOSE.flow);
      expect(end.overflow?.message).toContain("wait for acknowledgement");
    });
  }

  test("takes frames of which it does not know the type, and counts those that are counted", () => {
    const end = new End();
    for (const type of [0x00, 0x42, 0x7f, 0x86, 0xff])
      end.channel.receive(frameOf(type, 1, Buffer.from("x")));
    expect(end.channel.received).toBe([0x00, 0x42, 0x7f].filter(isCounted).length);
  });
});
