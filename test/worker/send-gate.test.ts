import { expect, describe, test } from "bun:test";
import { createSendGate, SEND_HIGH_BYTES } from "../../src/worker/send-gate.ts";
import { ManualClock } from "../support/manual-clock.ts";

function gateOn() {
  const socket = { bufferedAmount: 0, pings: 0, ping: () => void socket.pings++ };
  const clock = new ManualClock();
  return { socket, clock, gate: createSendGate(socket, clock) };
}

/** Whether a promise has been resolved by now. */
async function isResolved(promise: Promise<void> | undefined): Promise<boolean> {
  return Promise.race([
    promise?.then(() => true),
    new Promise<false>((resolve) => setImmediate(() => resolve(false))),
  ]) as Promise<boolean>;
}

describe("Send gate", () => {
  test("lets data flow, and costs nothing, while the relay keeps up", () => {
    const { socket, clock, gate } = gateOn();
    gate.sent();
    expect([gate.wait(), socket.pings, clock.pending]).toEqual([undefined, 0, []]);
  });

  test("sends one ping behind the data and opens when the pong finds the buffer low", async () => {
    const { socket, clock, gate } = gateOn();
    socket.bufferedAmount = SEND_HIGH_BYTES + 1;
    gate.sent();
    gate.sent();
    const waiting = gate.wait();
    expect([socket.pings, await isResolved(waiting)]).toEqual([1, false]);
    gate.look();
    expect([socket.pings, await isResolved(waiting)]).toEqual([2, false]);
    socket.bufferedAmount = SEND_HIGH_BYTES;
    gate.look();
    expect([await isResolved(waiting), gate.wait(), clock.pending]).toEqual([true, undefined, []]);
  });

  test("looks each second in case the pong never comes", async () => {
    const { socket, clock, gate } = gateOn();
    socket.bufferedAmount = 2 * SEND_HIGH_BYTES;
    const waiting = gate.wait();
    clock.advance(1_000);
    expect(await isResolved(waiting)).toBe(false);
    socket.bufferedAmount = 0;
    clock.advance(1_000);
    expect([await isResolved(waiting), clock.pending]).toEqual([true, []]);
  });

  test("lets everyone go when the link has ended", async () => {
    const { socket, clock, gate } = gateOn();
    socket.bufferedAmount = 2 * SEND_HIGH_BYTES;
    const waiting = gate.wait();
    gate.open();
    expect([await isResolved(waiting), gate.wait(), clock.pending]).toEqual([true, undefined, []]);
  });
});
