import { describe, expect, test } from "bun:test";
import { LastMinute } from "../../../src/server/admin/last-minute.ts";
import { RequestRecord, type TokenUse } from "../../../src/server/request-record.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const clock = new ManualClock();

interface Ended {
  model?: string;
  outcome?: "complete" | "failed" | "refused" | "cancelled";
  tokens?: TokenUse;
  wasQueued?: boolean;
  reason?: string;
}

function ended({
  model = "m",
  outcome = "complete",
  tokens,
  wasQueued = true,
  reason = "",
}: Ended = {}): RequestRecord {
  const arrival = { id: "id", clientId: "id", method: "POST", path: "/v1/chat/completions" };
  const record = new RequestRecord(arrival, clock, () => {});
  record.model = model;
  if (wasQueued) record.queuedAt = clock.now();
  record.tokens = tokens;
  record.settle(outcome, reason);
  record.end();
  return record;
}

const TOKENS: TokenUse = { prompt: 100, completion: 10, cached: 50, estimated: false };

describe("The last minute", () => {
  test("adds up what has ended, and forgets it after a minute", () => {
    const minute = new LastMinute(clock.now());
    minute.add(ended({ tokens: TOKENS }));
    clock.advance(30_000);
    minute.add(ended({ tokens: TOKENS }));
    minute.add(ended({ outcome: "failed", model: "n" }));
    clock.advance(29_000);
    expect(minute.view(clock.now())).toEqual({
      secs: 59,
      requests: 3,
      failed: 1,
      prompt_tokens: 200,
      completion_tokens: 20,
      models: [
        { name: "m", requests: 2, failed: 0, prompt_tokens: 200, completion_tokens: 20 },
        { name: "n", requests: 1, failed: 1, prompt_tokens: 0, completion_tokens: 0 },
      ],
    });
    clock.advance(1_000);
    expect(minute.view(clock.now())).toMatchObject({ secs: 60, requests: 2, prompt_tokens: 100 });
    clock.advance(30_000);
    expect(minute.view(clock.now())).toMatchObject({ secs: 60, requests: 0, models: [] });
  });

  test("takes the place of what is a minute old, second by second", () => {
    const minute = new LastMinute(clock.now());
    for (let second = 0; second < 200; second++) {
      minute.add(ended());
      clock.advance(1_000);
    }
    expect(minute.view(clock.now() - 1_000).requests).toBe(60);
  });

  test("is that of a relay since its start where that is less", () => {
    const minute = new LastMinute(clock.now());
    expect(minute.view(clock.now()).secs).toBe(1);
    clock.advance(2_500);
    expect(minute.view(clock.now()).secs).toBe(3);
  });

  test("names no model that a client made up, and not more than a hundred in a second", () => {
    const minute = new LastMinute(clock.now());
    minute.add(ended({ model: "made-up", outcome: "refused", wasQueued: false }));
    minute.add(ended({ model: "made-up", outcome: "refused", reason: "model_not_found" }));
    expect(minute.view(clock.now())).toMatchObject({ requests: 2, models: [] });
    for (let at = 0; at < 150; at++) minute.add(ended({ model: `model-${at}` }));
    const view = minute.view(clock.now());
    expect([view.requests, view.models.length]).toEqual([152, 100]);
  });
});
