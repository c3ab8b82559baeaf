import { describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import { createClientAdmission, type ClientAdmissionOptions } from "../../../src/server/client-admission.ts";
import { KeyRing } from "../../../src/server/keys/key-ring.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryKeyStore } from "../../support/memory-key-store.ts";

const WELL_FORMED = `mr_live_${"A".repeat(43)}`;

async function start(options: Partial<ClientAdmissionOptions> = {}) {
  const clock = new ManualClock();
  const store = new MemoryKeyStore();
  const ring = await KeyRing.open(store, { clock, log: silentLog, cacheTtlMs: 60_000 });
  const admission = createClientAdmission({
    ring,
    isKeyRequired: true,
    clock,
    ...options,
  });
  const admit = (key: string | undefined, address = "192.0.2.1") =>
    admission.admit(key === undefined ? {} : { authorization: `Bearer ${key}` }, () => address);
  const make = (name = "ada") =>
    ring.createKey({ name, models: undefined, priority: "normal", limits: {}, expiresAt: undefined });
  return { clock, store, ring, admission, admit, make };
}

describe("Client admission", () => {
  test("answers ten wrong keys of an address with 401, then with 429, and says for how long", async () => {
    for (const wrong of ["wrong", WELL_FORMED]) {
      const { admit, clock } = await start({ apiKey: "right" });
      for (let n = 0; n < 10; n++) expect(admit(wrong)).toMatchObject({ status: 401 });
      expect(admit(wrong)).toMatchObject({ status: 429, code: "rate_limit_exceeded", retryAfterSecs: 2 });
      expect(admit(wrong, "192.0.2.2")).toMatchObject({ status: 401 });
      clock.advance(2_000);
      expect(admit(wrong)).toMatchObject({ status: 401 });
    }
  });

  test("keeps a key of the relay's making open to an address that others have throttled", async () => {
    const { admit, make } = await start({ apiKey: "right" });
    const { secret, record } = await make();
    for (let n = 0; n < 20; n++) admit("wrong");
    expect(admit(secret)).toMatchObject({ id: record.id });
  });

  test("does not look at a guess for the operator's own key while the address is throttled", async () => {
    const { admit, clock } = await start({ apiKey: "right" });
    for (let n = 0; n < 10; n++) admit("wrong");
    expect(admit("right")).toMatchObject({ status: 429 });
    clock.advance(2_000);
    expect(admit("right")).toMatchObject({ id: "api-key", key: { id: "api-key", name: "api-key" } });
  });

  test("takes the first key, in the form in which a relay makes it, whatever the address has done", async () => {
    const { admit } = await start({ apiKey: WELL_FORMED });
    for (let n = 0; n < 20; n++) admit("wrong");
    expect(admit(WELL_FORMED)).toMatchObject({ id: "api-key" });
  });

  test("does not count a missing, a revoked or an expired key as a guess", async () => {
    const { admit, make, ring, clock } = await start();
    const { record, secret } = await make();
    const short = await make("short");
    await ring.revokeKey(record.id);
    await ring.updateKey(short.record.id, { expiresAt: clock.wall() });
    for (let n = 0; n < 30; n++) {
      expect(admit(undefined)).toMatchObject({ status: 401 });
      expect(admit(secret)).toMatchObject({
        status: 401,
        message: expect.stringContaining("revoked") as string,
      });
      expect(admit(short.secret)).toMatchObject({ message: expect.stringContaining("expired") as string });
    }
    expect(admit("wrong")).toMatchObject({ status: 401 });
  });

  test("makes whoever guesses wait, however much the guess begins like a key that it made", async () => {
    const { admit, make } = await start({ apiKey: "right" });
    const { record } = await make();
    for (let n = 0; n < 10; n++) expect(admit(`${record.prefix}-guess`)).toMatchObject({ status: 401 });
    expect(admit(`${record.prefix}-guess`)).toMatchObject({ status: 429 });
    expect(admit("right")).toMatchObject({ status: 429 });
  });

  test("lets an operator's own key that begins like one that it made wait as well", async () => {
    const { ring, clock, make } = await start();
    const { record } = await make();
    const own = `${record.prefix}-own`;
    const admission = createClientAdmission({ ring, apiKey: own, isKeyRequired: true, clock });
    const admit = (key: string) => admission.admit({ authorization: `Bearer ${key}` }, () => "192.0.2.1");
    for (let n = 0; n < 10; n++) admit("wrong");
    expect(admit(own)).toMatchObject({ status: 429 });
    clock.advance(2_000);
    expect(admit(own)).toMatchObject({ id: "api-key" });
  });

  test.each([
    ["Bearer ", ""],
    ["bearer ", ""],
    ["BEARER   ", "  "],
    ["Bearer ", " "],
    ["Bearer  ", ""],
  ])("reads a key between %j and %j", async (before, after) => {
    const { admission, make } = await start();
    const { secret } = await make();
    const admit = (key: string) =>
      admission.admit({ authorization: `${before}${key}${after}` }, () => "192.0.2.1");
    expect(admit(secret)).toMatchObject({ key: { name: "ada" } });
    expect(admit(WELL_FORMED)).toMatchObject({
      message: expect.stringContaining("The API key is wrong") as string,
    });
  });

  test.each([
    ["Bearer\t", ""],
    ["Bearer ", "\t"],
    ["Bearer ", "\u00a0"],
    ["Bearer ", " x"],
    [" Bearer ", ""],
    ["Bearer", ""],
    ["Basic ", ""],
    ["", ""],
  ])("reads no key between %j and %j", async (before, after) => {
    const { admission, make } = await start();
    const { secret } = await make();
    expect(admission.admit({ authorization: `${before}${secret}${after}` }, () => "192.0.2.1")).toMatchObject(
      {
        message: expect.stringContaining("No API key was sent") as string,
      },
    );
  });

  test.each(["Bearer", "Bearer ", "Bearer   "])("finds no key in %j", async (authorization) => {
    const { admission } = await start();
    expect(admission.admit({ authorization }, () => "192.0.2.1")).toMatchObject({
      message: expect.stringContaining("No API key was sent") as string,
    });
  });

  test("lets the valid one of several keys in", async () => {
    const { admission, make } = await start();
    const { secret, record } = await make();
    const headers = { authorization: "Bearer wrong", "x-api-key": secret };
    expect(admission.admit(headers, () => "192.0.2.1")).toMatchObject({ id: record.id });
  });

  test("answers 503 to an unknown key while the database is gone, and does not count it as a guess", async () => {
    const { admit, store, clock, make } = await start({ apiKey: "right" });
    const { secret } = await make();
    store.trouble = new Error("gone");
    clock.advance(3_000);
    for (let n = 0; n < 30; n++) {
      expect(admit(WELL_FORMED)).toMatchObject({ status: 503, code: "keys_unavailable", retryAfterSecs: 5 });
    }
    expect(admit(secret)).toMatchObject({ key: { name: "ada" } });
    expect(admit("right")).toMatchObject({ id: "api-key" });
    // No key of the database looks like that.
    expect(admit("wrong")).toMatchObject({ status: 401 });
    clock.advance(60_000);
    expect(admit(secret)).toMatchObject({ status: 503 });
  });

  test("lets anybody in where no key is needed, by the network of the address", async () => {
    const { admit } = await start({ isKeyRequired: false });
    for (const key of [undefined, "none", WELL_FORMED]) {
      expect(admit(key)).toEqual({
        id: "address:192.0.2.1",
        key: undefined,
        models: undefined,
        priority: "normal",
        limits: {},
      });
    }
    expect(admit(undefined, "2001:db8:1:2::7")).toMatchObject({ id: "address:2001:db8:1:2" });
    for (let n = 0; n < 30; n++) expect(admit("none")).toMatchObject({ id: "address:192.0.2.1" });
  });

  test("knows a key for what it is where none is needed, a revoked one as well", async () => {
    const { admit, make, ring } = await start({ isKeyRequired: false });
    const { record, secret } = await make();
    expect(admit(secret)).toMatchObject({ id: record.id });
    await ring.revokeKey(record.id);
    expect(admit(secret)).toMatchObject({ status: 401, code: "invalid_api_key" });
  });
});
