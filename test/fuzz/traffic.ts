import { FRAME } from "../../src/protocol/frames.ts";
import type { Random } from "./random.ts";
import {
  ackFrame,
  creditFrame,
  frameOf,
  headFrame,
  joined,
  jsonFrame,
  REGISTER,
  REGISTER_ACK,
  requestFrame,
  type Bytes,
} from "./wire.ts";

/** Sizes of a part of a body; two of the longest are more than a small window. */
const PARTS = [0, 1, 30, 400, 9_000] as const;

/** What a worker may send that holds requests 1 to `requests`, its registration first. */
export function workerTraffic(random: Random, requests: number): Bytes[] {
  const frames = [REGISTER];
  for (let number = 1; number <= requests; number++) {
    if (random.oneIn(5)) frames.push(fail(number));
    else {
      frames.push(headFrame(number, random.pick([200, 204, 429, 500, 101])));
      for (let part = random.below(4); part > 0; part--) frames.push(body(random, number));
      frames.push(random.oneIn(6) ? fail(number) : end(random, number));
    }
    if (random.oneIn(2)) frames.push(creditFrame(number, random.pick([1, 5_000, 0xffff_ffff])));
    if (random.oneIn(3)) frames.push(ackFrame(random.below(6)));
    if (random.oneIn(4)) frames.push(frameOf(FRAME.pong, 0, random.bytes(12)));
    if (random.oneIn(4)) frames.push(frameOf(random.below(256), number, random.bytes(random.below(8))));
    if (random.oneIn(6))
      frames.push(
        jsonFrame(FRAME.control, 0, { type: "models_update", models: ["m", "n"], current_load: 1 }),
      );
    if (random.oneIn(6)) frames.push(jsonFrame(FRAME.control, 0, { type: "error", code: "c", message: "m" }));
  }
  return frames;
}

/** What a relay may send to a worker, its acceptance first. */
export function relayTraffic(random: Random): Bytes[] {
  const frames = [REGISTER_ACK];
  for (let number = 1, last = 1 + random.below(4); number <= last; number++) {
    const parts = Array.from({ length: random.below(4) }, () => body(random, number));
    const bytes = parts.reduce((sum, part) => sum + part.length - 8, 0);
    // Now and then the same id again, as after a request that came back.
    frames.push(requestFrame(number, bytes, random.oneIn(5) ? "r1" : `r${number}`), ...parts);
    if (bytes > 0) frames.push(frameOf(FRAME.end, number));
    if (random.oneIn(2)) frames.push(creditFrame(number, random.pick([1, 5_000, 0xffff_ffff])));
    if (random.oneIn(3)) frames.push(jsonFrame(FRAME.cancel, number, { reason: "client_disconnect" }));
    if (random.oneIn(3)) frames.push(ackFrame(random.below(6)));
    if (random.oneIn(4)) frames.push(frameOf(FRAME.ping, 0, random.bytes(8)));
    if (random.oneIn(4)) frames.push(frameOf(random.below(256), number, random.bytes(random.below(8))));
    if (random.oneIn(6)) frames.push(jsonFrame(FRAME.control, 0, { type: "models_refresh", reason: "r" }));
    if (random.oneIn(6))
      frames.push(jsonFrame(FRAME.control, 0, { type: "graceful_shutdown", drain_timeout_secs: 5 }));
    if (random.oneIn(9))
      frames.push(jsonFrame(FRAME.resumed, 0, { received: random.below(5) }), frameOf(FRAME.refused, 0));
  }
  return frames;
}

function body(random: Random, number: number): Bytes {
  return frameOf(FRAME.body, number, random.bytes(random.pick(PARTS)));
}

function end(random: Random, number: number): Bytes {
  if (random.oneIn(2)) return frameOf(FRAME.end, number);
  return jsonFrame(FRAME.end, number, { token_counts: { prompt_tokens: 3, completion_tokens: "4" } });
}

function fail(number: number): Bytes {
  return jsonFrame(FRAME.fail, number, {
    status: 502,
    code: "backend_unreachable",
    message: "m",
    origin: "backend",
  });
}

/** The same frames as bytes: as they are, or in another order, twice, left out, or with damage. */
export function damaged(random: Random, frames: readonly Bytes[]): Bytes {
  const order = [...frames];
  for (let times = random.below(3); times > 0; times--) damageOrder(random, order);
  const bytes = joined(order);
  for (let times = random.below(4); times > 0; times--) damageBytes(random, bytes);
  return random.oneIn(4) ? bytes.slice(0, random.below(bytes.length + 1)) : bytes;
}

function damageOrder(random: Random, frames: Bytes[]): void {
  if (frames.length === 0) return;
  const at = random.below(frames.length);
  const other = random.below(frames.length);
  switch (random.below(4)) {
    case 0:
      frames.splice(at, 0, frames[other]!);
      return;
    case 1:
      frames.splice(at, 1);
      return;
    case 2:
      [frames[at], frames[other]] = [frames[other]!, frames[at]!];
      return;
    default:
      frames.splice(at, 0, random.bytes(random.below(12)));
  }
}

/** In place. */
export function damageBytes(random: Random, bytes: Uint8Array): void {
  if (bytes.length === 0) return;
  const at = random.below(bytes.length);
  switch (random.below(4)) {
    case 0:
      bytes[at]! ^= 1 << random.below(8);
      return;
    case 1:
      bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff]);
      return;
    case 2:
      bytes.copyWithin(at, random.below(bytes.length), random.below(bytes.length));
      return;
    default:
      bytes[at] = random.next();
  }
}
