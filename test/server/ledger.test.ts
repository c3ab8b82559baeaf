import { describe, expect, test } from "bun:test";
import { silentLog } from "../../src/base/log.ts";
import { Ledger } from "../../src/server/ledger.ts";
import { RequestRecord } from "../../src/server/request-record.ts";
import { ManualClock } from "../support/manual-clock.ts";

function record(id: string, countTokens?: () => void): RequestRecord {
  const made = new RequestRecord(
    { id, clientId: id, method: "POST", path: "/v1/chat/completions" },
    new ManualClock(),
    () => {},
  );
  if (countTokens !== undefined) made.answer = { countTokens };
  return made;
}

describe("The ledger", () => {
  test("tells of what ended in a turn at its end: each sink of all, with their tokens counted", async () => {
    const told: string[] = [];
    const ledger = new Ledger(
      ["a", "b"].map(
        (sink) =>
          ({ id, model }) =>
            void told.push(`${sink} ${id} ${model}`),
      ),
      silentLog,
    );
    for (const id of ["1", "2"]) {
      const ended = record(id, () => (ended.model = `m${id}`));
      ledger.add(ended);
    }
    expect(told).toEqual([]);
    await new Promise((resolve) => setImmediate(resolve));
    expect(told).toEqual(["a 1 m1", "a 2 m2", "b 1 m1", "b 2 m2"]);
    ledger.flush();
    expect(told).toHaveLength(4);
  });

  test("lets go of answers, and loses no request by one whose tokens cannot be counted", () => {
    const errors: unknown[] = [];
    const told: RequestRecord[] = [];
    const log = { ...silentLog, error: (_: string, fields?: object) => void errors.push(fields) };
    const ledger = new Ledger([(ended) => void told.push(ended)], log);
    const bad = record("bad", () => {
      throw new Error("odd");
    });
    const good = record("good", () => {});
    ledger.add(bad);
    ledger.add(good);
    ledger.flush();
    expect(told).toEqual([bad, good]);
    expect(told.map(({ answer }) => answer)).toEqual([undefined, undefined]);
    expect(errors).toEqual([{ request: "bad", reason: "odd" }]);
  });
});
