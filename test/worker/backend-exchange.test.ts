import { gzipSync } from "node:zlib";
import { describe, expect, test } from "bun:test";
import { BackendExchange, type SilenceLimits } from "../../src/worker/backend-exchange.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** An exchange whose connection is the test's. */
function exchange(limits: Partial<SilenceLimits> = {}) {
  const clock = new ManualClock();
  /** What the connection is asked to do. */
  const asked: string[] = [];
  const told: string[] = [];
  const call = {
    pause: () => void asked.push("pause"),
    resume: () => void asked.push("resume"),
    cancel: () => void asked.push("cancel"),
  };
  const events = {
    head: () => void told.push("head"),
    body: (bytes: Uint8Array) => void told.push(`body ${bytes.length}`),
    end: () => void told.push("end"),
    failed: ({ code }: { code: string }) => void told.push(code),
  };
  const all = { clock, firstByteTimeoutMs: 0, idleTimeoutMs: 0, ...limits };
  const answer = new BackendExchange(all, "http://backend.test", events, () => call);
  return { answer, clock, asked, told };
}

/** One turn of the event loop. */
function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

describe("Silence of a backend", () => {
  test("is limited by the idle timeout from the first byte on, and by nothing before it", () => {
    const { answer, clock, asked, told } = exchange({ idleTimeoutMs: 1_000 });
    clock.advance(100_000);
    answer.head(200, {});
    answer.body(Buffer.from("a"));
    clock.advance(999);
    answer.body(Buffer.from("b"));
    clock.advance(999);
    expect(told).toEqual(["head", "body 1", "body 1"]);
    clock.advance(1);
    expect([told.at(-1), asked]).toEqual(["idle_timeout", ["cancel"]]);
  });

  test("may be shorter within an answer than before it, and longer", () => {
    for (const [firstByteTimeoutMs, idleTimeoutMs] of [
      [10_000, 1_000],
      [1_000, 10_000],
    ] as const) {
      const { answer, clock, told } = exchange({ firstByteTimeoutMs, idleTimeoutMs });
      clock.advance(1);
      answer.body(Buffer.from("a"));
      clock.advance(idleTimeoutMs - 1);
      expect(told).toEqual(["body 1"]);
      clock.advance(1);
      expect(told).toEqual(["body 1", "idle_timeout"]);
    }
  });

  test("does not count while nobody listens, and counts from nothing after that", () => {
    const { answer, clock, told } = exchange({ idleTimeoutMs: 1_000 });
    answer.body(Buffer.from("a"));
    answer.pause();
    clock.advance(5_000);
    answer.resume();
    clock.advance(999);
    expect(told).toEqual(["body 1"]);
    clock.advance(1);
    expect(told).toEqual(["body 1", "idle_timeout"]);
  });

  test("leaves no timer when the exchange is over", () => {
    for (const over of ["end", "cancel"] as const) {
      const { answer, clock } = exchange({ firstByteTimeoutMs: 1_000 });
      expect(clock.pending).toEqual([1_000]);
      answer[over]();
      expect(clock.pending).toEqual([]);
    }
  });
});

describe("Compressed answer", () => {
  // A comment in its head is much to read, and nothing to tell.
  const plain = gzipSync("hello");
  const packed = Buffer.concat([
    Buffer.from([0x1f, 0x8b, 8, 0x10]),
    plain.subarray(4, 10),
    Buffer.alloc(200_000, "c"),
    Buffer.from([0]),
    plain.subarray(10),
  ]);

  test("is read on when its decoder has room, unless nobody listens", async () => {
    const { answer, asked, told } = exchange();
    answer.head(200, { "content-encoding": "gzip" });
    answer.body(packed.subarray(0, 100_000));
    expect(asked).toEqual(["pause"]);
    answer.pause();
    answer.resume();
    // The decoder is still full.
    expect(asked.splice(0)).toEqual(["pause", "pause"]);
    while (asked.length === 0) await turn();
    expect(asked.splice(0)).toEqual(["resume"]);

    answer.body(packed.subarray(100_000, 200_000));
    answer.pause();
    expect(asked.splice(0)).toEqual(["pause", "pause"]);
    // Time for the decoder to take it all.
    for (let turns = 0; turns < 100; turns++) await turn();
    expect(asked).toEqual([]);
    answer.resume();
    while (asked.length === 0) await turn();
    expect(asked).toEqual(["resume"]);
    answer.body(packed.subarray(200_000));
    answer.end();
    while (!told.includes("end")) await turn();
    expect(told).toEqual(["head", "body 5", "end"]);
  });

  test("tells nothing more once it is cancelled", async () => {
    const { answer, told } = exchange();
    answer.head(200, { "content-encoding": "gzip" });
    answer.body(packed);
    answer.end();
    answer.cancel();
    for (let turns = 0; turns < 100; turns++) await turn();
    expect(told).toEqual(["head"]);
  });
});
