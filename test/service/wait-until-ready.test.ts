import { describe, expect, test } from "bun:test";
import type { Clock } from "../../src/base/clock.ts";
import { waitUntilReady } from "../../src/service/readiness.ts";
import type { ServiceId, ServiceState } from "../../src/service/service.ts";

const ID: ServiceId = { kind: "serve", name: undefined, scope: "system" };
const STOPPED: ServiceState = {
  state: "stopped",
  pid: undefined,
  since: undefined,
  restarts: 0,
  status: "",
  enabled: true,
  changed: false,
  start: undefined,
};
const starting: ServiceState = { ...STOPPED, state: "starting", pid: 7 };
const running: ServiceState = { ...STOPPED, state: "running", pid: 7, status: "Listens" };

/** A clock on which every wait is over at once. */
function hurriedClock(): Clock {
  let now = 0;
  return {
    now: () => now,
    wall: () => now,
    after(delayMs, fire) {
      queueMicrotask(() => {
        now += delayMs;
        fire();
      });
      return { cancel() {} };
    },
  };
}

/** Waits for a service that is seen like this, time after time; the last for good. */
async function waited(
  states: readonly ServiceState[],
  { before, hearsReadiness = true }: { before?: number; hearsReadiness?: boolean } = {},
) {
  let index = 0;
  const state = () => Promise.resolve(states[Math.min(index++, states.length - 1)] ?? STOPPED);
  const clock = hurriedClock();
  const seen: string[] = [];
  const { isReady, state: last } = await waitUntilReady(
    ID,
    { state, hearsReadiness },
    {
      clock,
      timeoutMs: 10_000,
      before,
      onState: (one) => seen.push(one.state),
    },
  );
  return { isReady, state: last.state, pid: last.pid, seen, ms: clock.now() };
}

describe("The wait for a service", () => {
  test("ends when it serves, and not while it starts", async () => {
    expect(await waited([starting, starting, running])).toEqual({
      isReady: true,
      state: "running",
      pid: 7,
      seen: ["starting", "starting"],
      ms: 400,
    });
  });

  test("goes on while the service waits for something, and is over at its limit", async () => {
    const waiting: ServiceState = { ...running, state: "waiting", status: "Waits for a certificate" };
    expect(await waited([waiting, running])).toMatchObject({ isReady: true, ms: 200 });
    expect(await waited([waiting])).toMatchObject({ isReady: false, state: "waiting", ms: 10_000 });
  });

  test("ends where the service has ended, whether it will be tried again or not", async () => {
    for (const state of ["failed", "stopped", "restarting"] as const)
      expect(await waited([starting, { ...STOPPED, state }])).toMatchObject({
        isReady: false,
        state,
        ms: 200,
      });
  });

  test("takes the process that ran before for no successor", async () => {
    const successor = { ...running, pid: 8 };
    expect(await waited([running, running, successor], { before: 7 })).toMatchObject({
      isReady: true,
      pid: 8,
      ms: 400,
    });
    expect(await waited([running], { before: 7 })).toMatchObject({ isReady: false, pid: 7, ms: 10_000 });
  });

  test("looks longer where only a process is seen, which may end at once", async () => {
    const isSeen = { hearsReadiness: false };
    expect(await waited([running], isSeen)).toMatchObject({ isReady: true, ms: 2_000 });
    const again = [running, running, { ...STOPPED, state: "failed" as const }];
    expect(await waited(again, isSeen)).toMatchObject({ isReady: false, state: "failed" });
  });
});
