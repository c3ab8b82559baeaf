import { describe, expect, test } from "bun:test";
import {
  findServiceManager,
  isWaiting,
  waitsFor,
  type ServiceManager,
} from "../../src/base/service-manager.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** A manager that can be made to refuse, and what it was told. */
function listening(env: Record<string, string> = {}) {
  const clock = new ManualClock();
  const told: string[] = [];
  const state = { refuses: false };
  const manager = findServiceManager({
    env,
    clock,
    send(text) {
      if (!state.refuses) told.push(text);
      return !state.refuses;
    },
  });
  return { clock, told, state, manager };
}

const WATCHED = { WATCHDOG_USEC: "30000000" };

function sayAll(manager: ServiceManager): void {
  manager.ready("serves");
  manager.status("busy");
  manager.handingOver("hands over");
  manager.tookOver("took over");
  manager.stopping("ends", 1);
  manager.handedOver();
  manager.close();
}

describe("ServiceManager", () => {
  test("is told that the service is ready, and what it does", () => {
    const { manager, told } = listening();
    manager.ready("Listens on http://127.0.0.1:8080");
    manager.status("3 workers");
    expect(told).toEqual(["READY=1\nSTATUS=Listens on http://127.0.0.1:8080", "STATUS=3 workers"]);
  });

  test("gets no second assignment out of a status with a line break in it", () => {
    const { manager, told } = listening();
    manager.status("a\nMAINPID=1");
    expect(told).toEqual(["STATUS=a?MAINPID=1"]);
  });

  test("is told of a wait in words that whoever asks it knows again", () => {
    expect(waitsFor("a certificate")).toBe("Waits for a certificate");
    expect(isWaiting(waitsFor("a certificate"))).toBe(true);
    expect(isWaiting("Listens on http://127.0.0.1:8080")).toBe(false);
  });

  test("is told how long the end may take, in microseconds", () => {
    const { manager, told } = listening();
    manager.stopping("2 requests left", 40_000.2);
    expect(told).toEqual(["STOPPING=1\nEXTEND_TIMEOUT_USEC=40001000\nSTATUS=2 requests left"]);
  });

  test("hears a sign of life at once and after each half of its limit, from the moment of readiness to the end", () => {
    const { manager, told, clock } = listening(WATCHED);
    clock.advance(60_000);
    expect(told).toEqual([]);
    manager.ready("");
    clock.advance(14_999);
    expect(told.filter((text) => text === "WATCHDOG=1")).toHaveLength(1);
    clock.advance(1);
    expect(told.filter((text) => text === "WATCHDOG=1")).toHaveLength(2);
    clock.advance(30_000);
    expect(told.filter((text) => text === "WATCHDOG=1")).toHaveLength(4);
    manager.close();
    clock.advance(60_000);
    expect(told.filter((text) => text === "WATCHDOG=1")).toHaveLength(4);
    expect(clock.pending).toEqual([]);
  });

  test("that asks for no signs of life gets none", () => {
    for (const env of [{}, { WATCHDOG_USEC: "" }, { WATCHDOG_USEC: "0" }, { WATCHDOG_USEC: "soon" }]) {
      const { manager, told, clock } = listening(env);
      manager.ready("");
      clock.advance(60_000);
      expect(told).toEqual(["READY=1\nSTATUS="]);
      expect(clock.pending).toEqual([]);
    }
  });

  test("that is told twice of readiness hears one pulse, not two", () => {
    const { manager, clock } = listening(WATCHED);
    manager.ready("");
    manager.ready("");
    expect(clock.pending).toEqual([15_000]);
  });

  test("is told by a successor that it is the main process, in one message with its readiness", () => {
    const { manager, told, clock } = listening(WATCHED);
    manager.tookOver("took over");
    expect(told).toEqual([`MAINPID=${process.pid}\nREADY=1\nSTATUS=took over`, "WATCHDOG=1"]);
    expect(clock.pending).toEqual([15_000]);
  });

  test("is told that a handover begins", () => {
    const { manager, told } = listening();
    manager.handingOver("hands over");
    expect(told).toEqual(["RELOADING=1\nSTATUS=hands over"]);
  });

  test("hears nothing more of one that handed over, its end least of all", () => {
    const { manager, told, clock } = listening(WATCHED);
    manager.ready("");
    manager.handedOver();
    const before = told.length;
    manager.ready("serves");
    manager.status("busy");
    manager.handingOver("hands over");
    manager.stopping("ends", 1);
    manager.handedOver();
    manager.close();
    clock.advance(60_000);
    expect(told).toHaveLength(before);
  });

  test("hears of one that handed over again when its successor has died, until the next one is there", () => {
    const { manager, told, clock } = listening(WATCHED);
    manager.ready("");
    manager.handedOver();
    const before = told.length;
    manager.tookOver("starts another");
    clock.advance(60_000);
    const again = told.slice(before);
    expect(again[0]).toBe(`MAINPID=${process.pid}\nREADY=1\nSTATUS=starts another`);
    expect(again.filter((text) => text === "WATCHDOG=1").length).toBeGreaterThan(1);
    manager.handedOver();
    const last = told.length;
    clock.advance(60_000);
    expect(told).toHaveLength(last);
  });

  test("that does not read is told later, in order", () => {
    const { manager, told, clock, state } = listening();
    state.refuses = true;
    manager.ready("first");
    manager.status("second");
    clock.advance(1_000);
    expect(told).toEqual([]);
    state.refuses = false;
    clock.advance(100);
    expect(told).toEqual(["READY=1\nSTATUS=first", "STATUS=second"]);
    expect(clock.pending).toEqual([]);
  });

  test("that never reads is given up after a while, and told of what comes later", () => {
    const { manager, told, clock, state } = listening();
    state.refuses = true;
    manager.ready("first");
    clock.advance(60_000);
    expect(clock.pending).toEqual([]);
    state.refuses = false;
    manager.status("later");
    expect(told).toEqual(["STATUS=later"]);
  });

  test("that is not there, or that no datagram gets to, is told nothing", () => {
    for (const address of [undefined, "", "relative", "vsock:2:1234", "@", `/${"x".repeat(200)}`]) {
      const clock = new ManualClock();
      const env = { ...WATCHED, NOTIFY_SOCKET: address };
      sayAll(findServiceManager({ env, clock }));
      expect(clock.pending).toEqual([]);
    }
  });
});
