import { describe, expect, test } from "bun:test";
import { KeptConnections, type Keepable } from "../../../src/worker/http/kept-connections.ts";
import { ManualClock } from "../../support/manual-clock.ts";

class Connection implements Keepable {
  quietSince = 0;
  closed = false;
  close(): void {
    this.closed = true;
  }
}

function keeping(count: number) {
  const clock = new ManualClock();
  const kept = new KeptConnections<Connection>(clock);
  const connections = Array.from({ length: count }, () => new Connection());
  for (const connection of connections) kept.keep(connection);
  return { clock, kept, connections };
}

describe("Kept connections", () => {
  test("are 256 at most", () => {
    const { connections } = keeping(257);
    expect(connections.findIndex(({ closed }) => closed)).toBe(256);
  });

  test("set one timer, which finds nothing when all are taken", () => {
    const { clock, kept, connections } = keeping(2);
    expect(kept.take()).toBe(connections[1]);
    expect(kept.take()).toBe(connections[0]);
    expect(kept.take()).toBeUndefined();
    expect(clock.pending).toEqual([4_000]);
    clock.advance(4_000);
    expect(connections.map(({ closed }) => closed)).toEqual([false, false]);
    expect(clock.pending).toEqual([]);
  });

  test("are closed after 4 s of quiet, whenever the timer was set", () => {
    const { clock, kept, connections } = keeping(1);
    const [connection] = connections;
    for (const ms of [1_000, 2_500]) {
      clock.advance(ms);
      kept.keep(kept.take()!);
    }
    expect(clock.pending).toEqual([500]);
    clock.advance(3_999);
    expect([connection!.closed, clock.pending]).toEqual([false, [1]]);
    clock.advance(1);
    expect([connection!.closed, clock.pending]).toEqual([true, []]);
  });

  test("leave no timer when they are given up", () => {
    const { clock, kept } = keeping(1);
    kept.take();
    kept.close();
    expect(clock.pending).toEqual([]);
  });

  test("are all closed when the last one used is found to be too old", () => {
    const { clock, kept, connections } = keeping(3);
    // As after a sleep of the machine, when no timer has fired yet.
    clock.now = () => 5_000;
    expect(kept.take()).toBeUndefined();
    expect(connections.map(({ closed }) => closed)).toEqual([true, true, true]);
    expect(clock.pending).toEqual([]);
  });
});
