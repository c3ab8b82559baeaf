import { describe, expect, test } from "bun:test";
import type { Clock } from "../../src/base/clock.ts";
import { WorkerAdmission } from "../../src/server/worker-admission.ts";

function start() {
  let now = 0;
  const clock: Clock = { now: () => now, wall: () => now, after: () => ({ cancel() {} }) };
  const admission = new WorkerAdmission("right", clock);
  return {
    pass: (ms: number) => (now += ms),
    admit: (address: string, secret?: string) => admission.admit(address, secret),
  };
}

describe("Worker admission", () => {
  test("admits the right secret and nothing like it", () => {
    const { admit } = start();
    expect(admit("192.0.2.1", "right")).toEqual({
      kind: "admitted",
      credential: expect.not.stringContaining("right") as string,
    });
    for (const secret of [undefined, "", "Right", "right ", "righ", "rightt"]) {
      expect(admit("192.0.2.2", secret).kind).toBe("wrong_secret");
    }
  });

  test("answers ten wrong secrets of an address, then one every two seconds", () => {
    const { admit, pass } = start();
    for (let n = 0; n < 10; n++) expect(admit("192.0.2.1", "wrong").kind).toBe("wrong_secret");
    expect(admit("192.0.2.1", "wrong")).toEqual({ kind: "throttled", retryAfterSecs: 2 });
    for (let n = 0; n < 3; n++) {
      pass(2_000);
      expect(admit("192.0.2.1", "wrong").kind).toBe("wrong_secret");
      expect(admit("192.0.2.1", "wrong").kind).toBe("throttled");
    }
  });

  test("shuts the right secret out for no longer than one refill, however often the door was tried", () => {
    const { admit, pass } = start();
    for (let n = 0; n < 10_000; n++) admit("192.0.2.1", "wrong");
    expect(admit("192.0.2.1", "right").kind).toBe("throttled");
    expect(admit("192.0.2.2", "right").kind).toBe("admitted");
    pass(2_000);
    expect(admit("192.0.2.1", "right").kind).toBe("admitted");
    expect(admit("192.0.2.1", "right").kind).toBe("admitted");
  });

  test("counts an IPv6 network as one address, and IPv4 addresses one by one", () => {
    const { admit } = start();
    for (let n = 0; n < 10; n++) admit(`2001:db8:1:2::${n}`, "wrong");
    expect(admit("2001:db8:1:2:aaaa::1", "wrong").kind).toBe("throttled");
    expect(admit("2001:db8:1:3::1", "wrong").kind).toBe("wrong_secret");
    for (let n = 0; n < 10; n++) admit("::ffff:192.0.2.7", "wrong");
    expect(admit("::ffff:192.0.2.8", "wrong").kind).toBe("wrong_secret");
  });

  test("remembers a bounded number of addresses", () => {
    const { admit } = start();
    for (let n = 0; n < 10; n++) admit("192.0.2.1", "wrong");
    for (let n = 0; n < 10_000; n++) admit(`10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`, "wrong");
    // The oldest was forgotten to make room for the newest.
    expect(admit("192.0.2.1", "wrong").kind).toBe("wrong_secret");
  });
});
