import { describe, expect, test } from "bun:test";
import { silentLog } from "../../../src/base/log.ts";
import type { ClientError } from "../../../src/server/client-error.ts";
import type { Client, Limits } from "../../../src/server/client.ts";
import type { Allowance } from "../../../src/server/limits/allowance.ts";
import { RequestLimits, type OwnLimits, type UsedTokens } from "../../../src/server/limits/request-limits.ts";
import { RequestRecord } from "../../../src/server/request-record.ts";
import { ManualClock } from "../../support/manual-clock.ts";

const CHAT = "/v1/chat/completions";
const JSON_TYPE = "application/json";

function keyed(id: string, limits: Limits): Client {
  return { id, key: { id, name: `key ${id}` }, models: undefined, priority: "normal", limits };
}

/** The gate without a relay behind it: a request ends when the test says so. */
class Gate {
  readonly clock = new ManualClock();
  readonly limits: RequestLimits;
  readonly warnings: string[] = [];

  constructor(limits?: OwnLimits, usedTokens?: UsedTokens) {
    const log = { ...silentLog, warn: (text: string) => void this.warnings.push(text) };
    this.limits = new RequestLimits({ clock: this.clock, log, limits, usedTokens });
  }

  /** @returns what the request may take, or why it is refused */
  async send(
    client: Client,
    path = CHAT,
  ): Promise<{
    record: RequestRecord;
    allowance: Allowance | undefined;
    error?: ClientError;
    headers: Headers;
  }> {
    const record = new RequestRecord(
      { id: "i", clientId: "c", method: "POST", path },
      this.clock,
      this.limits.ended,
    );
    const error = this.limits.enter(client, record, "openai");
    const { allowance } = record;
    const fields: Record<string, string> = {};
    if (error === undefined) {
      allowance?.stamp(fields);
      return { record, allowance, headers: new Headers(fields) };
    }
    record.settle("refused", error.code);
    record.end();
    allowance?.stamp(fields);
    return { record, allowance: undefined, headers: new Headers(fields), error };
  }

  /** How many tokens a client has left, without asking for any. */
  async left(client: Client): Promise<string | null> {
    const { record, headers } = await this.send(client, "/api/version");
    record.end();
    return headers.get("x-ratelimit-remaining-tokens");
  }
}

/** What was asked of the database has been answered after it. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** As if a backend had answered. */
function answered(record: RequestRecord, prompt: number, completion: number): void {
  record.tokens = { prompt, completion, cached: 0, estimated: false };
}

describe("The limits of a key", () => {
  test("come with its client, and are its own", async () => {
    const gate = new Gate({ anonymous: { requestsPerMinute: 1 }, relay: {} });
    const narrow = keyed("narrow", { requestsPerMinute: 1 });
    expect((await gate.send(narrow)).error).toBeUndefined();
    expect((await gate.send(narrow)).error).toMatchObject({
      status: 429,
      code: "rate_limit_exceeded",
      message: "This API key may send 1 request per minute, and has sent as many: try again in 60 s",
      retryAfterMs: 60_000,
    });
    expect((await gate.send(keyed("other", { requestsPerMinute: 1 }))).error).toBeUndefined();
    const free = await gate.send(keyed("free", {}));
    expect([free.error, free.allowance]).toEqual([undefined, undefined]);
    gate.clock.advance(60_000);
    expect((await gate.send(narrow)).error).toBeUndefined();
  });

  test("hold together with the relay's, whose refusal costs the key nothing", async () => {
    const gate = new Gate({ anonymous: {}, relay: { requestsPerMinute: 1 } });
    const client = keyed("k", { requestsPerMinute: 5 });
    expect((await gate.send(client)).headers.get("x-ratelimit-remaining-requests")).toBe("0");
    expect((await gate.send(client)).error?.message).toStartWith("This relay may send 1 request");
    gate.limits.configure({ anonymous: {}, relay: {} });
    expect((await gate.send(client)).headers.get("x-ratelimit-remaining-requests")).toBe("3");
  });

  test("are told by the one of which less is left", async () => {
    const gate = new Gate();
    const budget = { tokens: 1_000, period: "day" } as const;
    expect(await gate.left(keyed("a", { tokensPerMinute: 100, budget }))).toBe("100");
    expect(await gate.left(keyed("b", { tokensPerMinute: 5_000, budget }))).toBe("1000");
  });

  test("are charged for what was made, however the request ends", async () => {
    const body = Buffer.from(JSON.stringify({ model: "m", prompt: "x".repeat(375) }));
    expect(body.length).toBe(400);
    const ways: [title: string, end: (record: RequestRecord) => void, charged: number][] = [
      ["whole", (record) => answered(record, 90, 60), 150],
      ["longer than it said", (record) => answered(record, 100, 2_500), 2_600],
      ["left in the middle", (record) => (answered(record, 90, 10), record.settle("cancelled")), 100],
      ["never begun", (record) => record.settle("failed"), 0],
    ];
    for (const [title, end, charged] of ways) {
      const gate = new Gate();
      const client = keyed("k", { budget: { tokens: 10_000, period: "month" } });
      const { record, allowance } = await gate.send(client, "/v1/completions");
      expect(allowance?.expect(record, JSON_TYPE, body, 2_000)).toBeUndefined();
      expect(await gate.left(client)).toBe("7900");
      end(record);
      record.end();
      expect([title, await gate.left(client)]).toEqual([title, String(10_000 - charged)]);
    }
  });

  test("are for programs to wait for if that is short, and to give up if it is not", async () => {
    const gate = new Gate();
    const wait = async (tokens: number) => {
      const client = keyed(`k${tokens}`, { tokensPerMinute: 1_000 });
      const { record } = await gate.send(client);
      answered(record, 1, tokens - 1);
      record.end();
      const { error } = await gate.send(client);
      return [error?.retryAfterMs, error?.noRetry];
    };
    expect(await wait(1_999)).toEqual([60_000, undefined]);
    expect(await wait(2_001)).toEqual([60_120, true]);
  });
});

describe("A budget", () => {
  const client = keyed("k", { budget: { tokens: 1_000, period: "day" } });

  test("begins with what was used before the start", async () => {
    const asked: number[] = [];
    const gate = new Gate(undefined, async (since) => {
      asked.push(since);
      return new Map([["k", 600]]);
    });
    await turn();
    const day = Math.floor(gate.clock.wall() / 86_400_000) * 86_400_000;
    const now = new Date(day);
    expect(asked).toEqual([day, Date.UTC(now.getUTCFullYear(), now.getUTCMonth())]);
    expect(await gate.left(client)).toBe("400");
  });

  test("counts what it knows while the database cannot be reached, and asks again soon", async () => {
    let reachable = false;
    let asked = 0;
    const gate = new Gate(undefined, async () => {
      asked++;
      if (!reachable) throw new Error("no database");
      return new Map([["k", 999]]);
    });
    await turn();
    expect(gate.warnings).toEqual([
      "What was used of the budgets cannot be read; they count from what is known",
    ]);
    expect(await gate.left(client)).toBe("1000");
    expect(asked).toBe(1);
    reachable = true;
    gate.clock.advance(9_999);
    await gate.left(client);
    expect(asked).toBe(1);
    gate.clock.advance(1);
    await gate.left(client);
    await turn();
    expect(await gate.left(client)).toBe("1");
  });

  test("learns now and then what was used through other relays", async () => {
    let used = 0;
    const gate = new Gate(undefined, async () => new Map([["k", used]]));
    await turn();
    expect(await gate.left(client)).toBe("1000");
    await turn();
    used = 700;
    gate.clock.advance(299_999);
    await gate.left(client);
    await turn();
    expect(await gate.left(client)).toBe("1000");
    gate.clock.advance(1);
    await gate.left(client);
    await turn();
    expect(await gate.left(client)).toBe("300");
  });
});

test("A relay without limits keeps nothing of a request", () => {
  const gate = new Gate({ anonymous: {}, relay: {} });
  const record = new RequestRecord(
    { id: "i", clientId: "c", method: "POST", path: CHAT },
    gate.clock,
    () => {},
  );
  expect(gate.limits.enter(keyed("k", {}), record, "openai")).toBeUndefined();
  expect(record.allowance).toBeUndefined();
});
