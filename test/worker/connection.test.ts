import { describe, expect, test } from "bun:test";
import {
  startConnection,
  stepConnection,
  type ConnectionEffect,
  type ConnectionEvent,
  type ConnectionState,
} from "../../src/worker/connection.ts";
import { CLOSE } from "../../src/protocol/limits.ts";

/** A machine with its time and chance in the test's hand. */
function machine(random = 0.5) {
  let [state] = startConnection();
  let now = 0;
  return {
    get state(): ConnectionState {
      return state;
    },
    pass(ms: number): void {
      now += ms;
    },
    step(event: ConnectionEvent): ConnectionEffect[] {
      const [next, effects] = stepConnection(state, event, now, () => random);
      state = next;
      return effects;
    },
  };
}

function waitOf(effects: ConnectionEffect[]): number | undefined {
  return effects.find((effect) => effect.kind === "wait")?.ms;
}

function saidAt(effects: ConnectionEffect[]): string[] {
  return effects.flatMap((effect) => (effect.kind === "say" ? [effect.level] : []));
}

const refused = {
  kind: "failed",
  failure: { kind: "unreachable", detail: "nothing listens there" },
} as const;
const lost = { kind: "lost", code: 1006, reason: "" } as const;

describe("Connection", () => {
  test("dials at once when it starts", () => {
    expect(startConnection()[1]).toEqual([{ kind: "dial" }]);
  });

  test("waits twice as long after each failed dial, up to 30 s", () => {
    const worker = machine(1);
    const waits = Array.from({ length: 9 }, () => {
      const ms = waitOf(worker.step(refused));
      expect(worker.step({ kind: "waited" })).toEqual([{ kind: "dial" }]);
      return ms;
    });
    expect(waits).toEqual([500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000]);
  });

  test("spreads the waits over the whole range, so that workers cut off together return apart", () => {
    expect([0, 0.25, 0.999].map((random) => waitOf(machine(random).step(refused)))).toEqual([0, 125, 499.5]);
  });

  test("goes on backing off when links are accepted and cut at once", () => {
    const worker = machine(1);
    const waits = Array.from({ length: 3 }, () => {
      worker.step({ kind: "registered" });
      worker.pass(59_000);
      const ms = waitOf(worker.step(lost));
      worker.step({ kind: "waited" });
      return ms;
    });
    expect(waits).toEqual([500, 1_000, 2_000]);
  });

  test("starts over with short waits after a stable minute", () => {
    const worker = machine(1);
    for (let i = 0; i < 5; i++) {
      worker.step(refused);
      worker.step({ kind: "waited" });
    }
    worker.step({ kind: "registered" });
    worker.pass(60_000);
    expect(waitOf(worker.step(lost))).toBe(500);
  });

  test("says a refused secret once as an error, and retries it every 30 to 60 s", () => {
    const unauthorised = { kind: "failed", failure: { kind: "unauthorised", how: "HTTP 401" } } as const;
    const worker = machine(0.5);
    const first = worker.step(unauthorised);
    worker.step({ kind: "waited" });
    const second = worker.step(unauthorised);
    expect([saidAt(first), saidAt(second)]).toEqual([["error"], ["debug"]]);
    expect([waitOf(first), waitOf(second)]).toEqual([45_000, 45_000]);
    expect(waitOf(machine(0).step(unauthorised))).toBe(30_000);
  });

  test("says a refusal again once a link has been up in between", () => {
    const worker = machine();
    worker.step(refused);
    worker.step({ kind: "waited" });
    worker.step({ kind: "registered" });
    worker.step(lost);
    worker.step({ kind: "waited" });
    expect(saidAt(worker.step(refused))).toEqual(["warn"]);
  });

  test("never dials before a Retry-After has passed", () => {
    const throttled = { kind: "failed", failure: { kind: "throttled", retryAfterMs: 7_000 } } as const;
    expect(waitOf(machine(0).step(throttled))).toBe(7_000);
    expect(waitOf(machine(1).step(throttled))).toBe(7_500);
  });

  test("names both versions' remedy when the relay speaks none of ours", () => {
    const failure = { kind: "closed", code: CLOSE.version, reason: "spoken here: v1" } as const;
    const effects = machine(0).step({ kind: "failed", failure });
    const said = effects.find((effect) => effect.kind === "say");
    expect(said?.message).toContain("spoken here: v1");
    expect(said?.level).toBe("error");
    expect(waitOf(effects)).toBe(30_000);
  });

  test("leaves with code 0 once the running requests have ended", () => {
    const worker = machine();
    worker.step({ kind: "registered" });
    expect(worker.step({ kind: "drain", purpose: "leave" })).toEqual([{ kind: "drainJobs" }]);
    expect(worker.step({ kind: "drained" })).toEqual([{ kind: "closeLink", code: 1000, reason: "drained" }]);
    expect(worker.step({ kind: "lost", code: 1000, reason: "drained" })).toEqual([
      { kind: "finish", code: 0 },
    ]);
  });

  test("leaves at once when it is told to while it has no link", () => {
    const worker = machine();
    worker.step(refused);
    expect(worker.step({ kind: "drain", purpose: "leave" })).toEqual([{ kind: "finish", code: 0 }]);
    expect(worker.step({ kind: "waited" })).toEqual([]);
  });

  test("dials again after a drain that the relay asked for", () => {
    const worker = machine(1);
    worker.step({ kind: "registered" });
    worker.step({ kind: "drain", purpose: "redial" });
    worker.step({ kind: "drained" });
    expect(waitOf(worker.step({ kind: "lost", code: 1000, reason: "" }))).toBe(500);
  });

  test("leaves for good when it is told to during the relay's drain", () => {
    const worker = machine();
    worker.step({ kind: "registered" });
    worker.step({ kind: "drain", purpose: "redial" });
    worker.step({ kind: "drain", purpose: "leave" });
    expect(worker.step(lost)).toEqual([{ kind: "finish", code: 0 }]);
  });

  test("stays on its link when the relay's address passes on, and does not come back when that ends", () => {
    const worker = machine();
    worker.step({ kind: "registered" });
    expect(worker.step({ kind: "drain", purpose: "move" })).toEqual([{ kind: "moveOn" }]);
    expect(worker.step({ kind: "drain", purpose: "move" })).toEqual([]);
    expect(worker.step({ kind: "drain", purpose: "redial" })).toEqual([]);
    expect(worker.step({ kind: "drained" })).toEqual([]);
    expect(worker.step(lost)).toEqual([{ kind: "finish", code: 0 }]);
  });

  test("leaves for good, with what runs finished, when it is told to while it moves", () => {
    const worker = machine();
    worker.step({ kind: "registered" });
    worker.step({ kind: "drain", purpose: "move" });
    expect(worker.step({ kind: "drain", purpose: "leave" })).toEqual([{ kind: "drainJobs" }]);
    expect(worker.step({ kind: "drained" })).toEqual([{ kind: "closeLink", code: 1000, reason: "drained" }]);
  });

  test("stops in any state, once", () => {
    const worker = machine();
    worker.step({ kind: "registered" });
    expect(worker.step({ kind: "stop" }).at(-1)).toEqual({ kind: "finish", code: 1 });
    expect(worker.step({ kind: "stop" })).toEqual([]);
    expect(worker.step(lost)).toEqual([]);
  });
});
