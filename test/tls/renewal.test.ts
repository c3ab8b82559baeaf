import { describe, expect, test } from "bun:test";
import type { CertificateFacts } from "../../src/tls/certificate.ts";
import { nextStep, stateAfterAnswer, stateAfterFailure, stateFor } from "../../src/tls/renewal.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;
const NOW = Date.UTC(2026, 5, 1);
const CA = "https://ca.example/directory";

const facts: CertificateFacts = {
  names: ["relay.example.com"],
  issuer: "Test CA",
  serial: "01",
  notBefore: NOW - 30 * DAY,
  notAfter: NOW + 60 * DAY,
  selfSigned: false,
  pin: "sha256/x",
  ariId: "a.b",
};
const resting = { failures: 0, serial: "01", renewAt: NOW + 30 * DAY };
const step = (state: Parameters<typeof nextStep>[0]["state"], of: CertificateFacts | undefined = facts) =>
  nextStep({ facts: of, state, directoryUrl: CA, nowMs: NOW });

describe("The next step for a domain", () => {
  test("is an order where there is no certificate, where it is due, and where another CA is named", () => {
    expect(nextStep({ facts: undefined, state: { failures: 0 }, directoryUrl: CA, nowMs: NOW })).toEqual({
      kind: "order",
      why: "first",
    });
    expect(step({ ...resting, renewAt: NOW })).toEqual({ kind: "order", why: "renewal" });
    expect(step(resting, { ...facts, notAfter: NOW })).toEqual({ kind: "order", why: "renewal" });
    expect(step({ ...resting, directoryUrl: "https://staging.example/" })).toEqual({
      kind: "order",
      why: "other authority",
    });
  });

  test("is a wait after a failure, however much an order is due", () => {
    const failed = { ...resting, renewAt: NOW, failures: 1, nextTryAt: NOW + HOUR };
    expect(step(failed)).toEqual({ kind: "wait", until: NOW + HOUR });
    expect(step({ ...failed, nextTryAt: NOW })).toEqual({ kind: "order", why: "renewal" });
  });

  test("heeds no wait that only a clock can have made that was set back since", () => {
    const failed = { ...resting, renewAt: NOW, failures: 1, nextTryAt: NOW + 8 * DAY };
    expect(step(failed).kind).toBe("wait");
    expect(step({ ...failed, nextTryAt: NOW + 400 * DAY }).kind).toBe("order");
    const ari = { checkedAt: NOW, retryAt: NOW + 400 * DAY, start: 0, end: 0 };
    expect(step({ ...resting, ari }).kind).toBe("ask");
  });

  test("is to ask the CA when it may be asked, and else to wait for what comes first", () => {
    expect(step(resting)).toEqual({ kind: "ask", ariId: "a.b" });
    const asked = { ...resting, ari: { checkedAt: NOW, retryAt: NOW + 6 * HOUR, start: 0, end: 0 } };
    expect(step(asked)).toEqual({ kind: "wait", until: NOW + 6 * HOUR });
    expect(step(asked, { ...facts, ariId: undefined })).toEqual({ kind: "wait", until: resting.renewAt });
  });
});

describe("What is remembered of a domain", () => {
  test("is forgotten when another certificate lies in the store", () => {
    const failed = { ...resting, failures: 3, nextTryAt: NOW + HOUR };
    expect(stateFor(facts, failed, 0)).toBe(failed);
    expect(stateFor({ ...facts, serial: "02" }, failed, 0)).toEqual({
      failures: 0,
      serial: "02",
      renewAt: facts.notBefore + 60 * DAY,
    });
  });

  test("is one moment in the CA's window for as long as the window stays as it is", () => {
    const info = { start: NOW + DAY, end: NOW + 3 * DAY, retryAt: NOW + HOUR };
    const first = stateAfterAnswer(facts, resting, info, { nowMs: NOW, random: 0.5 });
    expect(first.renewAt).toBe(NOW + 2 * DAY);
    const again = stateAfterAnswer(facts, first, info, { nowMs: NOW + HOUR, random: 0.9 });
    expect(again.renewAt).toBe(NOW + 2 * DAY);
    expect(again.ari?.checkedAt).toBe(NOW + HOUR);
    const moved = { ...info, start: NOW, end: NOW + DAY };
    expect(stateAfterAnswer(facts, again, moved, { nowMs: NOW, random: 0.5 }).renewAt).toBe(NOW + DAY / 2);
  });

  test("is a minute at least until the CA is asked again, whatever it says", () => {
    const info = { start: NOW, end: NOW + DAY, retryAt: NOW };
    const { ari } = stateAfterAnswer(facts, resting, info, { nowMs: NOW, random: 0 });
    expect(ari?.retryAt).toBe(NOW + 60_000);
  });

  test("is when to try again: an hour later at least where a person has to do something", () => {
    const failure = {
      nowMs: NOW,
      random: 0.5,
      retryAtMs: undefined,
      permanent: false,
      lastError: { message: "no" },
    };
    const once = stateAfterFailure(undefined, { failures: 0, waitAsked: true }, failure);
    expect(once).toEqual({
      failures: 1,
      nextTryAt: NOW + 60_000,
      lastError: { at: NOW, message: "no" },
    });
    const stuck = stateAfterFailure(undefined, once, { ...failure, permanent: true });
    expect([stuck.failures, stuck.nextTryAt]).toEqual([2, NOW + HOUR]);
    const asked = stateAfterFailure(undefined, once, { ...failure, retryAtMs: NOW + DAY });
    expect(asked.waitAsked).toBe(true);
    expect(asked.nextTryAt).toBeGreaterThanOrEqual(NOW + DAY);
  });
});
