import { describe, expect, test } from "bun:test";
import { AdminRefusal, createAdminDesk } from "../../../src/server/admin/admin-desk.ts";
import { RequestFeed } from "../../../src/server/usage/request-feed.ts";
import { usageRoutes } from "../../../src/server/usage/usage-routes.ts";
import { ManualClock } from "../../support/manual-clock.ts";
import { MemoryUsageStore } from "../../support/memory-usage-store.ts";
import { row, textOf } from "./rows.ts";

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

function deskRig(following = true) {
  const clock = new ManualClock();
  const store = new MemoryUsageStore();
  const feed = new RequestFeed(clock);
  const desk = createAdminDesk(usageRoutes({ store, clock, ...(following && { feed }) }));
  const get = async <T>(path: string, query = ""): Promise<T> => {
    const answer = await desk.answer("GET", path, new URLSearchParams(query), undefined);
    return (answer instanceof Response ? answer : answer.body) as T;
  };
  return { clock, store, feed, get };
}

/** What a look at the usage is refused with. */
async function refusal(asking: Promise<unknown>): Promise<[status: number, message: string]> {
  try {
    await asking;
  } catch (error) {
    if (error instanceof AdminRefusal) return [error.error.status, error.error.message];
    throw error;
  }
  throw new Error("It was not refused");
}

interface Shown {
  requests: { id: string }[];
  before: string | null;
}

describe("GET /admin/usage", () => {
  test("sums over keys in the last 30 days unless it is asked for something else", async () => {
    const { clock, store, get } = deskRig();
    const now = clock.wall();
    await store.insertUsage([
      row("old", { at: now - 31 * DAY, keyName: "ada" }),
      row("a", { at: now - 29 * DAY, keyName: "ada" }),
      row("b", { at: now - HOUR, keyName: "ada", outcome: "failed" }),
      row("c", { at: now - HOUR, keyName: "bob", promptTokens: 1, completionTokens: 2, cachedTokens: 0 }),
    ]);
    expect(await get<object>("/admin/usage")).toEqual({
      by: "key",
      since: new Date(now - 30 * DAY).toISOString(),
      until: new Date(now).toISOString(),
      usage: [
        {
          group: "ada",
          requests: 2,
          failed: 1,
          prompt_tokens: 40,
          completion_tokens: 14,
          cached_tokens: 8,
          bytes_in: 200,
          bytes_out: 400,
        },
        {
          group: "bob",
          requests: 1,
          failed: 0,
          prompt_tokens: 1,
          completion_tokens: 2,
          cached_tokens: 0,
          bytes_in: 100,
          bytes_out: 200,
        },
      ],
      total: {
        requests: 3,
        failed: 1,
        prompt_tokens: 41,
        completion_tokens: 16,
        cached_tokens: 8,
        bytes_in: 300,
        bytes_out: 600,
      },
    });
  });

  test("takes a group and a time, as a duration, a day or a time", async () => {
    const { clock, store, get } = deskRig();
    const now = clock.wall();
    await store.insertUsage([row("a", { at: now - 2 * DAY }), row("b", { at: now - HOUR, model: "n" })]);
    const groups = async (query: string) =>
      (await get<{ usage: { group: string }[] }>("/admin/usage", query)).usage.map(({ group }) => group);
    expect(await groups("by=model&since=1d")).toEqual(["n"]);
    expect(await groups("by=model&since=3d")).toEqual(["m", "n"]);
    expect(await groups("by=worker&since=3d&until=1d")).toEqual(["box"]);
    const day = new Date(now - DAY).toISOString();
    expect(await groups(`by=model&since=${day.slice(0, 10)}`)).toEqual(["n"]);
    expect(await groups(`by=model&until=${day}&since=3d`)).toEqual(["m"]);
    expect(await groups("by=day&since=3d")).toHaveLength(2);
  });

  test("refuses what makes no sense, and names it", async () => {
    const { get } = deskRig();
    expect(await refusal(get("/admin/usage", "by=color"))).toEqual([
      400,
      'Cannot use "color" as by: expected one of key, model, worker, day',
    ]);
    const [status, message] = await refusal(get("/admin/usage", "since=yesterday"));
    expect([status, message]).toEqual([400, expect.stringContaining('Cannot use "yesterday" as since')]);
    // A plain number could be anything.
    expect((await refusal(get("/admin/usage", "since=7")))[0]).toBe(400);
    expect((await refusal(get("/admin/usage", "sinse=7d")))[1]).toContain("accepted are by, since, until");
  });
});

describe("GET /admin/requests", () => {
  test("shows the newest first, with all that is known of them", async () => {
    const { clock, store, get } = deskRig();
    const at = clock.wall();
    await store.insertUsage([
      row("a", { at: at - 1, keyId: "k", keyName: "ada", servedModel: "m-q4", estimated: true }),
      row("b", { at, worker: undefined, queueMs: undefined, firstByteMs: undefined }),
    ]);
    const { requests, before } = await get<Shown>("/admin/requests");
    expect(before).toBeNull();
    expect(requests[1]).toEqual({
      id: "a",
      at: new Date(at - 1).toISOString(),
      key: { id: "k", name: "ada" },
      model: "m",
      served_model: "m-q4",
      worker: "box",
      path: "/v1/chat/completions",
      status: 200,
      outcome: "complete",
      reason: "",
      queue_ms: 1,
      first_byte_ms: 5,
      total_ms: 9,
      prompt_tokens: 20,
      completion_tokens: 7,
      cached_tokens: 4,
      estimated: true,
      bytes_in: 100,
      bytes_out: 200,
    } as object as { id: string });
    expect(requests[0]).toMatchObject({
      id: "b",
      key: null,
      served_model: null,
      worker: null,
      queue_ms: null,
      first_byte_ms: null,
    });
  });

  test("shows only what is asked for", async () => {
    const { store, get } = deskRig();
    await store.insertUsage([
      row("a", { keyId: "k", model: "x" }),
      row("b", { worker: "other", model: "x" }),
      row("c", { outcome: "failed" }),
    ]);
    const shown = async (query: string) =>
      (await get<Shown>("/admin/requests", query)).requests.map(({ id }) => id);
    expect(await shown("key_id=k")).toEqual(["a"]);
    expect(await shown("model=x&worker=other")).toEqual(["b"]);
    expect(await shown("outcome=failed")).toEqual(["c"]);
  });

  test("shows every request once, page by page, however many came in one millisecond", async () => {
    const { clock, store, get } = deskRig();
    const now = clock.wall();
    const all = Array.from({ length: 90 }, (_, n) => row(`r${n}`, { at: now - Math.floor(n / 7) }));
    await store.insertUsage(all);
    const seen: string[] = [];
    let before: string | null = null;
    let pages = 0;
    do {
      const page: Shown = await get(
        "/admin/requests",
        `limit=10${before === null ? "" : `&before=${before}`}`,
      );
      expect(page.requests.length).toBeLessThanOrEqual(10);
      seen.push(...page.requests.map(({ id }) => id));
      ({ before } = page);
      pages++;
    } while (before !== null);
    expect(seen.toSorted()).toEqual(all.map(({ id }) => id).toSorted());
    expect(pages).toBe(13);
  });

  test("refuses a page that is too large", async () => {
    const { get } = deskRig();
    for (const limit of ["0", "1001", "-1", "x"])
      expect((await refusal(get("/admin/requests", `limit=${limit}`)))[0]).toBe(400);
  });
});

describe("GET /admin/requests?follow=1", () => {
  const linesOf = async (response: Response, count: number): Promise<string[]> => {
    const reader = response.body!.getReader();
    let text = "";
    while (text.split("\n\n").length <= count) text += textOf(await reader.read());
    await reader.cancel();
    return text.split("\n\n").slice(0, count);
  };

  test("shows requests as they end, and forgets who has left", async () => {
    const { feed, clock, get } = deskRig();
    const response = await get<Response>("/admin/requests", "follow=1&model=x");
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(feed.followers).toBe(1);
    feed.add(row("a", { model: "y" }));
    feed.add(row("b", { model: "x" }));
    clock.advance(15_000);
    const [first, second, third] = await linesOf(response, 3);
    expect([first, third]).toEqual([": ping", ": ping"]);
    const [id, data] = second!.split("\n");
    expect(id).toBe("id: b");
    expect(JSON.parse(data!.slice("data: ".length))).toMatchObject({ id: "b", model: "x" });
    expect([feed.followers, clock.pending]).toEqual([0, []]);
  });

  test("leaves requests out for one who does not read, and says how many", async () => {
    const { feed, get } = deskRig();
    const response = await get<Response>("/admin/requests", "follow=true");
    for (let n = 0; n < 800; n++) feed.add(row(`r${n}`));
    const reader = response.body!.getReader();
    for (let n = 0; n < 400; n++) await reader.read();
    feed.add(row("next"));
    let text = "";
    while (!text.includes("id: next")) text += textOf(await reader.read());
    const missed = /event: missed\ndata: \{"requests":(\d+)\}/.exec(text)?.[1];
    expect(Number(missed)).toBe(800 - 499);
    await reader.cancel();
  });

  test("is for a few at once, and for a relay that runs", async () => {
    const { feed, get } = deskRig();
    for (let n = 0; n < 32; n++) await get("/admin/requests", "follow=1");
    expect(await refusal(get("/admin/requests", "follow=1"))).toEqual([429, expect.any(String)]);
    expect(feed.followers).toBe(32);
    const stopped = deskRig(false);
    expect((await refusal(stopped.get("/admin/requests", "follow=1")))[0]).toBe(400);
    expect(await stopped.get<Shown>("/admin/requests", "follow=0")).toEqual({ requests: [], before: null });
  });
});
