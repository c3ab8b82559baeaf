import { describe, expect, test } from "bun:test";
import { ByteBudget } from "../../src/server/byte-budget.ts";
import { ResponseStream } from "../../src/server/response-stream.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function start(limit = 1_000) {
  const budget = new ByteBudget(limit);
  let cancelled = 0;
  const stream = new ResponseStream(budget, { taken() {}, read() {}, cancelled: () => cancelled++ });
  return { budget, stream, cancelled: () => cancelled };
}

describe("Response stream", () => {
  test("holds and counts what nobody reads, and gives it back as it is read", async () => {
    const { budget, stream } = start();
    for (const text of ["a", "b", "c"]) expect(stream.push(bytes(text))).toBe(true);
    expect([budget.held, stream.heldBytes]).toEqual([3, 3]);
    const reader = stream.body.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("abc");
    expect([budget.held, stream.heldBytes]).toEqual([0, 0]);
  });

  test("passes a chunk straight to a reader that waits", async () => {
    const { budget, stream } = start(0);
    const reader = stream.body.getReader();
    const read = reader.read();
    await Promise.resolve();
    expect(stream.push(bytes("now"))).toBe(true);
    expect(new TextDecoder().decode((await read).value)).toBe("now");
    expect(budget.held).toBe(0);
  });

  test("refuses what the budget has no room for", () => {
    const { stream } = start(4);
    expect(stream.push(bytes("1234"))).toBe(true);
    expect(stream.push(bytes("5"))).toBe(false);
  });

  test("delivers what is held before it ends", async () => {
    const { stream } = start();
    stream.push(bytes("rest"));
    stream.end();
    expect(await new Response(stream.body).text()).toBe("rest");
  });

  test("delivers what is held before it breaks, and then is no whole body", async () => {
    const { stream } = start();
    stream.push(bytes("part"));
    stream.break("worker lost");
    const reader = stream.body.getReader();
    expect(new TextDecoder().decode((await reader.read()).value)).toBe("part");
    expect(reader.read()).rejects.toThrow();
  });

  test("lets go of everything when it is abandoned or cancelled", async () => {
    const abandoned = start();
    abandoned.stream.push(bytes("x"));
    abandoned.stream.abandon("slow");
    expect(abandoned.budget.held).toBe(0);
    const cancelled = start();
    cancelled.stream.push(bytes("x"));
    await cancelled.stream.body.cancel();
    expect([cancelled.budget.held, cancelled.cancelled()]).toEqual([0, 1]);
    expect(cancelled.stream.push(bytes("late"))).toBe(true);
    expect(cancelled.budget.held).toBe(0);
  });

  test("gives the unread rest of the largest finished answer up when others need the room", async () => {
    const budget = new ByteBudget(10);
    const finished = ["aaaaaa", "bbb"].map((text) => {
      const stream = new ResponseStream(budget, { taken() {}, read() {}, cancelled() {} });
      stream.push(bytes(text));
      stream.end();
      return stream;
    });
    // More than all of it together would bring: nobody is cut for that.
    expect(budget.take(11)).toBe(false);
    expect(budget.held).toBe(9);
    expect(budget.take(6)).toBe(true);
    expect(budget.held).toBe(9);
    const [cut, kept] = finished.map((stream) => new Response(stream.body).text());
    expect(cut).rejects.toThrow("does not read");
    expect(await kept).toBe("bbb");
    expect(budget.held).toBe(6);
  });

  test("asks nothing back from an answer that is still being made", () => {
    const { budget, stream } = start(4);
    stream.push(bytes("1234"));
    expect(budget.take(1)).toBe(false);
    expect(stream.heldBytes).toBe(4);
  });

  test.each([
    ["", "event"],
    ["data: 1\n\n", "event"],
    ["data: 1\r\n\r\n", "event"],
    ["data: 1\n", "line"],
    ["data: 1\r\n", "line"],
    ["data: 1", "inside"],
  ] as const)("knows that %j ends at the boundary of an %s", (text, boundary) => {
    const { stream } = start();
    stream.push(bytes(text));
    expect(stream.boundary).toBe(boundary);
  });
});
