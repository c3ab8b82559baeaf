import { describe, expect, test } from "bun:test";
import { silentLog, type LogFields } from "../../src/base/log.ts";
import { accessLog } from "../../src/server/access-log.ts";
import { RequestRecord } from "../../src/server/request-record.ts";
import { usageRow } from "../../src/server/usage/usage-row.ts";
import { startRig, type Rig } from "../faults/rig.ts";
import { Inbox } from "../support/inbox.ts";
import { ManualClock } from "../support/manual-clock.ts";

/** A relay, its worker, and the lines that it writes for requests. */
async function logged(apiKey?: string): Promise<Rig & { lines: Inbox<{ line: string; fields: LogFields }> }> {
  const lines = new Inbox<{ line: string; fields: LogFields }>();
  const rig = await startRig({
    relay: apiKey === undefined ? {} : { apiKey },
    relayLog: {
      ...silentLog,
      often: (line, fields = {}) => lines.put({ line, fields }),
    },
  });
  return Object.assign(rig, { lines });
}

function chat(rig: Rig, body: object, init: RequestInit = {}): Promise<Response> {
  return fetch(`http://127.0.0.1:${rig.port}/v1/chat/completions?secret=x`, {
    method: "POST",
    headers: { "x-request-id": "mine" },
    body: JSON.stringify(body),
    ...init,
  });
}

describe("Access log", () => {
  test("has one line for a request, with who served it and how long it took", async () => {
    await using rig = await logged();
    const body = { model: "m", messages: [] };
    const answer = chat(rig, body);
    (await rig.backend.next()).answer(200, { fine: true });
    await (await answer).text();
    const { line, fields } = await rig.lines.next();
    expect(line).toBe("POST /v1/chat/completions");
    expect(fields).toMatchObject({
      request: "mine",
      status: 200,
      model: "m",
      worker: "rig",
      bytes_in: JSON.stringify(body).length,
      bytes_out: 13,
    });
    expect(fields["outcome"]).toBeUndefined();
    expect(fields["id"]).toMatch(/^[0-9a-f-]{36}$/);
    const { queue_ms: queue, first_byte_ms: first, ms } = fields;
    expect(Number(queue)).toBeLessThanOrEqual(Number(first));
    expect(Number(first)).toBeLessThanOrEqual(Number(ms));
    expect(rig.lines.items).toEqual([]);
  });

  test("counts the wait from when the request had been read, as usage and metrics do", () => {
    const lines: LogFields[] = [];
    const clock = new ManualClock();
    const arrival = { id: "a", clientId: "a", method: "POST", path: "/v1/embeddings" };
    const told = accessLog({ ...silentLog, often: (_, fields = {}) => void lines.push(fields) });
    const record = new RequestRecord(arrival, clock, told);
    for (const [stage, ms] of [
      ["queuedAt", 100],
      ["dispatchedAt", 20],
      ["firstByteAt", 5],
    ] as const) {
      clock.advance(ms);
      record[stage] = clock.now();
    }
    clock.advance(1);
    record.end();
    expect(lines).toMatchObject([{ queue_ms: 20, first_byte_ms: 125, ms: 126 }]);
    expect(usageRow(record)).toMatchObject({ queueMs: 20, firstByteMs: 125, totalMs: 126 });
  });

  test("says how a request ended that did not end well", async () => {
    await using rig = await logged();
    await (await chat(rig, { model: "unknown" })).text();
    await (await chat(rig, { model: 7 })).text();
    const failing = chat(rig, { model: "m" });
    (await rig.backend.next()).reset();
    await (await failing).text();
    const outcomes = [await rig.lines.next(), await rig.lines.next(), await rig.lines.next()];
    expect(outcomes.map(({ fields: { status, outcome, reason } }) => [status, outcome, reason])).toEqual([
      [404, "refused", "model_not_found"],
      [400, "refused", "invalid_request"],
      [502, "failed", "backend_unreachable"],
    ]);
  });

  test("has a line for a client that left before the answer", async () => {
    await using rig = await logged();
    const abort = new AbortController();
    const answer = chat(rig, { model: "m" }, { signal: abort.signal }).catch(() => undefined);
    await rig.backend.next();
    abort.abort();
    await answer;
    const { fields } = await rig.lines.next();
    expect([fields["status"], fields["outcome"], fields["reason"]]).toEqual([
      499,
      "cancelled",
      "client_disconnect",
    ]);
  });

  test("has a line for a wrong key and one for the list of models, and no secret in either", async () => {
    await using rig = await logged("right");
    const url = `http://127.0.0.1:${rig.port}/v1/models`;
    await (await fetch(url, { headers: { authorization: "Bearer wrong" } })).text();
    await (await fetch(url, { headers: { authorization: "Bearer right" } })).text();
    const [first, second] = [await rig.lines.next(), await rig.lines.next()];
    expect([first.fields["status"], second.fields["status"]]).toEqual([401, 200]);
    expect(JSON.stringify([first, second])).not.toMatch(/wrong|right/);
  });
});
