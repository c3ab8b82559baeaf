import { describe, expect, test } from "bun:test";
import { BodyRecorder } from "../../../src/server/bodies/body-recorder.ts";
import { ByteBudget } from "../../../src/server/byte-budget.ts";

const KIB = 1024;

const bytes = (text: string) => new Uint8Array(Buffer.from(text));
const pattern = (length: number) => Uint8Array.from({ length }, (_, n) => n % 251);

describe("BodyRecorder", () => {
  test("keeps request and answer, in whatever parts that comes", () => {
    for (const size of [1, 3, 1_000, 5_000, 70_000]) {
      const budget = new ByteBudget(1024 * KIB);
      const recorder = new BodyRecorder(budget, 512 * KIB);
      const whole = pattern(70_000);
      recorder.asked(bytes("question"));
      for (let at = 0; at < whole.length; at += size) recorder.answered(whole.subarray(at, at + size));
      const taken = recorder.take();
      expect(taken?.request).toEqual({ kept: bytes("question"), bytes: 8 });
      expect(taken?.answer).toEqual({ kept: whole, bytes: 70_000 });
      expect([taken?.held, budget.held]).toEqual([70_008, 70_008]);
    }
  });

  test("keeps a copy of the answer alone, not the message of the link in which it came", () => {
    const recorder = new BodyRecorder(new ByteBudget(KIB), KIB);
    const message = bytes("..token..");
    recorder.answered(message.subarray(2, 7));
    message.fill(0);
    const kept = recorder.take()?.answer.kept;
    expect([kept, kept?.buffer.byteLength]).toEqual([bytes("token"), 5]);
  });

  test("keeps the beginning of what is longer than its limit, and how long it was", () => {
    for (const size of [1, 7, 100, 1_000]) {
      const budget = new ByteBudget(10 * KIB);
      const recorder = new BodyRecorder(budget, 100);
      const whole = pattern(1_000);
      recorder.asked(whole);
      for (let at = 0; at < whole.length; at += size) recorder.answered(whole.subarray(at, at + size));
      expect(budget.held).toBe(200);
      const taken = recorder.take();
      const cut = { kept: whole.slice(0, 100), bytes: 1_000 };
      expect([taken?.request, taken?.answer, taken?.held]).toEqual([cut, cut, 200]);
      expect(taken?.request.kept.buffer.byteLength).toBe(100);
    }
  });

  test("keeps all of what is as long as its limit", () => {
    const recorder = new BodyRecorder(new ByteBudget(10 * KIB), 100);
    recorder.asked(pattern(100));
    recorder.answered(pattern(100));
    const whole = { kept: pattern(100), bytes: 100 };
    expect(recorder.take()).toEqual({ request: whole, answer: whole, held: 200 });
  });

  test("lets go of everything where there is no room, and asks for none again", () => {
    const budget = new ByteBudget(10 * KIB);
    const recorder = new BodyRecorder(budget, 8 * KIB);
    recorder.asked(pattern(4 * KIB));
    recorder.answered(pattern(4 * KIB));
    recorder.answered(pattern(4 * KIB));
    expect(budget.held).toBe(0);
    recorder.answered(pattern(10));
    recorder.asked(pattern(10));
    expect([recorder.take(), budget.held]).toEqual([undefined, 0]);
    recorder.drop();
    expect(budget.held).toBe(0);
  });

  test("lets go of a request that does not fit", () => {
    const budget = new ByteBudget(10);
    const recorder = new BodyRecorder(budget, KIB);
    recorder.asked(pattern(11));
    expect([recorder.take(), budget.held]).toEqual([undefined, 0]);
  });

  test("keeps nothing once it is over", () => {
    const budget = new ByteBudget(10 * KIB);
    const dropped = new BodyRecorder(budget, KIB);
    dropped.asked(pattern(10));
    dropped.answered(pattern(10));
    dropped.drop();
    dropped.answered(pattern(10));
    expect([dropped.take(), budget.held]).toEqual([undefined, 0]);
    const taken = new BodyRecorder(budget, KIB);
    taken.asked(pattern(10));
    expect(taken.take()?.held).toBe(10);
    taken.answered(pattern(10));
    expect([taken.take(), budget.held]).toEqual([undefined, 10]);
  });
});
