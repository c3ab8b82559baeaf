import { FRAME, FrameDecoder } from "../../src/protocol/frames.ts";
import { CLOSE } from "../../src/protocol/limits.ts";
import { ProtocolError } from "../../src/protocol/messages.ts";
import { Random } from "./random.ts";
import { damageBytes } from "./traffic.ts";

/** Room for one input; longer ones would only be slower. */
const pool = new Uint8Array(1_024);
const KNOWN: readonly number[] = Object.values(FRAME);

/** As the specification has them, and not as the program does. */
const LONGEST = new Uint32Array(256).fill(1_048_576);
LONGEST[0x04] = 65_536;
LONGEST[0x08] = 4;
LONGEST[0x80] = 8;
LONGEST[0x81] = 8;
LONGEST[0x82] = 12;

/** What a decoder did, in as few numbers as will tell two different things apart. */
interface Outcome {
  frames: number;
  sum: number;
  held: number;
  tooLong: boolean;
}

/** Any bytes, in any pieces, give the frames that are in them, and one typed error for a frame that is too long. */
export function fuzzDecoder(seed: number): void {
  const random = new Random(seed);
  const input = fill(random);
  const wanted = expected(input);
  const outcome = { frames: 0, sum: 0, held: 0, tooLong: false };
  const decoder = new FrameDecoder((type, request, payload) => {
    outcome.frames++;
    outcome.sum = add(outcome.sum, type, request, payload);
  });
  try {
    const longest = random.pick([1, 5, 20, 200, 2_000]);
    for (let at = 0; at < input.length;) {
      const length = longest === 1 ? 1 : random.below(longest);
      decoder.push(input.subarray(at, at + length));
      at += length;
    }
    outcome.held = decoder.held;
  } catch (error) {
    if (!(error instanceof ProtocolError) || error.closeCode !== CLOSE.tooLarge) throw error;
    outcome.tooLong = true;
  }
  if (
    outcome.frames !== wanted.frames ||
    outcome.sum !== wanted.sum ||
    outcome.held !== wanted.held ||
    outcome.tooLong !== wanted.tooLong
  )
    throw new Error(`It gave ${JSON.stringify(outcome)} instead of ${JSON.stringify(wanted)}`);
}

function fill(random: Random): Uint8Array<ArrayBuffer> {
  if (random.oneIn(4)) return fillAtRandom(random, random.below(80));
  let at = 0;
  for (let frames = 1 + random.below(6); frames > 0; frames--) {
    const length = random.below(random.pick([2, 13, 60]));
    const type = random.oneIn(4) ? random.below(256) : random.pick(KNOWN);
    at = put(at, length, type, random);
  }
  const input = pool.subarray(0, at);
  for (let times = random.below(3); times > 0; times--) damageBytes(random, input);
  return random.oneIn(3) ? input.subarray(0, random.below(at + 1)) : input;
}

function fillAtRandom(random: Random, length: number): Uint8Array<ArrayBuffer> {
  for (let at = 0; at < length; at++) pool[at] = random.next();
  // Otherwise nearly every first frame would be too long.
  if (random.oneIn(2)) pool[0] = 0;
  if (random.oneIn(2)) pool[1] = 0;
  return pool.subarray(0, length);
}

function put(at: number, length: number, type: number, random: Random): number {
  pool[at] = 0;
  pool[at + 1] = 0;
  pool[at + 2] = length;
  pool[at + 3] = type;
  const end = at + 8 + length;
  for (let index = at + 4; index < end; index++) pool[index] = random.next();
  return end;
}

function expected(input: Uint8Array): Outcome {
  let at = 0;
  let frames = 0;
  let sum = 0;
  while (input.length - at >= 8) {
    const length = input[at]! * 65_536 + input[at + 1]! * 256 + input[at + 2]!;
    const type = input[at + 3]!;
    if (length > LONGEST[type]!) return { frames, sum, held: 0, tooLong: true };
    if (input.length - at < 8 + length) break;
    const request =
      input[at + 4]! * 16_777_216 + input[at + 5]! * 65_536 + input[at + 6]! * 256 + input[at + 7]!;
    frames++;
    sum = add(sum, type, request, input.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return { frames, sum, held: input.length - at, tooLong: false };
}

/** FNV-1a over a frame. */
function add(sum: number, type: number, request: number, payload: Uint8Array): number {
  let hash = Math.imul(sum ^ type, 0x01000193);
  hash = Math.imul(hash ^ request, 0x01000193);
  hash = Math.imul(hash ^ payload.length, 0x01000193);
  for (let at = 0; at < payload.length; at++) hash = Math.imul(hash ^ payload[at]!, 0x01000193);
  return hash;
}
