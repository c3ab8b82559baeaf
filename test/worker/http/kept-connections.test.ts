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

  test("leave no timer when the last one is taken", () => {
    const { clock, kept, connections } = keeping(2);
    expect(kept.take()).toBe(connections[1]);
    expect(clock.pending).toEqual([4_000]);
    expect(kept.take()).toBe(connections[0]);
    expect(clock.pending).toEqual([]);
    expect(kept.take()).toBeUndefined();
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
