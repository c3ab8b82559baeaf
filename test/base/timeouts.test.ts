import { describe, expect, test } from "bun:test";
import { Timeouts } from "../../src/base/timeouts.ts";
import { ManualClock } from "../support/manual-clock.ts";

function timeouts() {
  const clock = new ManualClock();
  const fired: string[] = [];
  const waiting = new Timeouts(clock, 1_000);
  const add = (name: string) => waiting.add(() => void fired.push(name));
  return { clock, fired, waiting, add };
}

describe("Timeouts", () => {
  test("each fire once, after their time and in order, with one timer", () => {
    const { clock, fired, add } = timeouts();
    add("a");
    add("b");
    clock.advance(400);
    add("c");
    expect(clock.pending).toEqual([600]);
    clock.advance(599);
    expect(fired).toEqual([]);
    clock.advance(1);
    expect([fired, clock.pending]).toEqual([["a", "b"], [400]]);
    clock.advance(399);
    expect(fired).toEqual(["a", "b"]);
    clock.advance(1);
    expect([fired, clock.pending]).toEqual([["a", "b", "c"], []]);
    clock.advance(10_000);
    expect(fired).toEqual(["a", "b", "c"]);
  });

  test("do not fire when they are cancelled, wherever they stand", () => {
    const { clock, fired, add } = timeouts();
    const [a, , c, , e] = ["a", "b", "c", "d", "e"].map(add);
    for (const timeout of [c, a, e, a, c]) timeout!.cancel();
    add("f").cancel();
    add("g");
    clock.advance(1_000);
    expect([fired, clock.pending]).toEqual([["b", "d", "g"], []]);
  });

  test("are not harmed by the cancelling of one that has fired", () => {
    const { clock, fired, add } = timeouts();
    const a = add("a");
    clock.advance(500);
    const b = add("b");
    clock.advance(500);
    a.cancel();
    add("c");
    clock.advance(500);
    b.cancel();
    clock.advance(500);
    expect([fired, clock.pending]).toEqual([["a", "b", "c"], []]);
  });

  test("set no timer for each when they come and go, and leave none behind after their time", () => {
    const { clock, fired, add } = timeouts();
    add("a").cancel();
    expect(clock.pending).toEqual([1_000]);
    clock.advance(300);
    add("b").cancel();
    const c = add("c");
    expect(clock.pending).toEqual([700]);
    // The timer was set for "a"; it goes on for "c", which is due later.
    clock.advance(700);
    expect([fired, clock.pending]).toEqual([[], [300]]);
    c.cancel();
    clock.advance(300);
    expect([fired, clock.pending]).toEqual([[], []]);
  });

  test("may be added and cancelled by one that fires", () => {
    const { clock, fired, waiting, add } = timeouts();
    waiting.add(() => {
      b.cancel();
      add("d");
    });
    const b = add("b");
    add("c");
    clock.advance(1_000);
    expect([fired, clock.pending]).toEqual([["c"], [1_000]]);
    clock.advance(1_000);
    expect([fired, clock.pending]).toEqual([["c", "d"], []]);
  });

  test("fire though one before them throws", () => {
    const { clock, fired, waiting, add } = timeouts();
    waiting.add(() => {
      throw new Error("fired");
    });
    add("b");
    expect(() => clock.advance(1_000)).toThrow("fired");
    clock.advance(1);
    expect([fired, clock.pending]).toEqual([["b"], []]);
  });

  test("are not fired early by a timer that is", () => {
    class EarlyClock extends ManualClock {
      override after(delayMs: number, fire: () => void): { cancel(): void } {
        return super.after(delayMs - 0.5, fire);
      }
    }
    const clock = new EarlyClock();
    let fired = 0;
    new Timeouts(clock, 1_000).add(() => fired++);
    clock.advance(999.5);
    expect(fired).toBe(0);
    clock.advance(0.5);
    expect([fired, clock.pending]).toEqual([1, []]);
  });

  test("leave no timer when nothing waits once they are closed, and fire until then", () => {
    const { clock, fired, waiting, add } = timeouts();
    add("a").cancel();
    waiting.close();
    expect(clock.pending).toEqual([]);
    const b = add("b");
    add("c");
    clock.advance(999);
    b.cancel();
    expect(clock.pending).toEqual([1]);
    clock.advance(1);
    expect([fired, clock.pending]).toEqual([["c"], []]);
    waiting.add(() => void add("d"));
    clock.advance(1_000);
    expect(clock.pending).toEqual([1_000]);
    clock.advance(1_000);
    expect([fired, clock.pending]).toEqual([["c", "d"], []]);
  });
});

test("A timeout that was cancelled and is held keeps none of those beside it", () => {
  const waiting = new Timeouts(new ManualClock(), 1_000);
  const [first, second] = [waiting.add(() => {}), waiting.add(() => {})];
  waiting.add(() => {});
  second.cancel();
  const neighbours = Object.values(second).filter((value) => typeof value === "object");
  expect(neighbours).toEqual([]);
  first.cancel();
});
