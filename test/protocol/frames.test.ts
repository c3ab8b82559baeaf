import { describe, expect, test } from "bun:test";
import { FRAME, FrameDecoder, HEADER_BYTES, MAX_REQUEST_NUMBER } from "../../src/protocol/frames.ts";
import { CLOSE, V2_MAX_BODY, V2_MAX_TEXT } from "../../src/protocol/limits.ts";
import { ProtocolError } from "../../src/protocol/messages.ts";
import { forSeeds, type Random } from "../fuzz/random.ts";
import { frameOf, framesIn, joined, type Bytes, type Taken } from "../fuzz/wire.ts";

const UNKNOWN = [0x00, 0x09, 0x7f, 0x86, 0xff];
const FIXED: Record<number, number> = {
  [FRAME.credit]: 4,
  [FRAME.ack]: 8,
  [FRAME.ping]: 8,
  [FRAME.pong]: 12,
  [FRAME.body]: V2_MAX_BODY,
};

function longestOf(type: number): number {
  return FIXED[type] ?? V2_MAX_TEXT;
}

function taking(): { decoder: FrameDecoder; taken: Taken[] } {
  const taken: Taken[] = [];
  const decoder = new FrameDecoder((type, request, payload) => {
    taken.push({ type, request, payload });
  });
  return { decoder, taken };
}

/** Frames of every type, known or not, empty, small, and as long as they may be. */
function someFrames(random: Random): Bytes[] {
  return Array.from({ length: 1 + random.below(12) }, () => {
    const type = random.pick([...Object.values(FRAME), ...UNKNOWN]);
    const longest = longestOf(type);
    const length = random.oneIn(20) ? longest : random.below(Math.min(longest, 300) + 1);
    const request = random.pick([0, 1, random.next(), MAX_REQUEST_NUMBER]);
    return frameOf(type, request, random.bytes(length));
  });
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

describe("A frame decoder", () => {
  test("takes the same frames out of the same bytes, however they are split", () => {
    forSeeds(400, (random) => {
      const bytes = joined(someFrames(random));
      const { decoder, taken } = taking();
      for (const piece of random.split(bytes)) decoder.push(piece);
      expect(Bun.deepEquals(taken, framesIn(bytes))).toBe(true);
      expect(decoder.held).toBe(0);
    });
  });

  test("takes a frame in as many pieces as it has bytes, with empty ones between", () => {
    const frame = frameOf(FRAME.head, 7, Buffer.from("{}"));
    const { decoder, taken } = taking();
    for (const byte of frame) {
      decoder.push(new Uint8Array(0));
      decoder.push(Uint8Array.of(byte));
      decoder.push(new Uint8Array(0));
    }
    expect(taken).toEqual([{ type: FRAME.head, request: 7, payload: new Uint8Array(Buffer.from("{}")) }]);
  });

  test("takes a frame without a payload as soon as its header is there", () => {
    const { decoder, taken } = taking();
    const frame = frameOf(FRAME.end, 3);
    decoder.push(frame.slice(0, 5));
    expect(taken).toEqual([]);
    decoder.push(frame.slice(5));
    expect(taken).toMatchObject([{ type: FRAME.end, request: 3 }]);
  });

  test("holds the unfinished frame and nothing else", () => {
    forSeeds(100, (random) => {
      const bytes = joined(someFrames(random));
      const { decoder, taken } = taking();
      let pushed = 0;
      let whole = 0;
      for (const piece of random.split(bytes)) {
        decoder.push(piece);
        pushed += piece.length;
        for (const { payload } of taken.splice(0)) whole += HEADER_BYTES + payload.length;
        if (decoder.held !== pushed - whole) throw new Error(`It holds ${decoder.held} of ${pushed - whole}`);
      }
    });
  });

  test("leaves payloads as they were when more comes", () => {
    const { decoder, taken } = taking();
    const frames = [1, 2, 3].map((fill) => frameOf(FRAME.body, fill, new Uint8Array(50).fill(fill)));
    const bytes = joined(frames);
    for (let at = 0; at < bytes.length; at += 20) decoder.push(bytes.slice(at, at + 20));
    expect(taken.map(({ payload }) => payload)).toEqual(
      [1, 2, 3].map((fill) => new Uint8Array(50).fill(fill)),
    );
  });

  for (const [name, type] of [...Object.entries(FRAME), ["an unknown type", 0x42] as const]) {
    test(`takes ${name} as long as it may be, and refuses it by its header when it is longer`, () => {
      const longest = longestOf(type);
      const { decoder, taken } = taking();
      decoder.push(frameOf(type, 1, new Uint8Array(longest)));
      expect(taken.map(({ payload }) => payload.length)).toEqual([longest]);
      const header = frameOf(type, 1, new Uint8Array(longest + 1)).slice(0, HEADER_BYTES);
      const whole = errorOf(() => taking().decoder.push(header));
      expect(whole.closeCode).toBe(CLOSE.tooLarge);
      expect(whole.message).toContain(`${longest} are allowed`);
      const { decoder: slow } = taking();
      slow.push(header.slice(0, 7));
      expect(errorOf(() => slow.push(header.slice(7))).message).toBe(whole.message);
    });
  }

  test("hands on what its handler throws", () => {
    const wrong = new ProtocolError("Cannot take it", CLOSE.protocol);
    const decoder = new FrameDecoder(() => {
      throw wrong;
    });
    expect(errorOf(() => decoder.push(frameOf(FRAME.end, 1)))).toBe(wrong);
  });
});
