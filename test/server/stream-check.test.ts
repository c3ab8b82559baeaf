import { describe, expect, test } from "bun:test";
import type { Connection } from "../../src/server/connection.ts";
import { createStreamCheck, SilenceTicket } from "../../src/server/stream-check.ts";
import { ManualClock } from "../support/manual-clock.ts";

const PATH = "http://relay.test/v1/stream-check";
const LINK = "http://relay.test/v1/worker/connect/check";

/** Everybody comes from an address of his own, unless a test says which. */
let clients = 0;
const check = (clock = new ManualClock()) => createStreamCheck(clock, (_, { address }) => address);

/** A connection that notes its ticket, or that cannot be upgraded. */
function connection(tickets?: unknown[], address = `client ${++clients}`): Connection {
  return {
    address,
    allowSilence() {},
    limitSilence() {},
    upgrade: (ticket) => tickets !== undefined && tickets.push(ticket) > 0,
  };
}

function upgradeRequest(): Request {
  return new Request(LINK, { headers: { upgrade: "WebSocket", connection: "Upgrade" } });
}

describe("Stream check", () => {
  test("sends three parts half a second apart, without asking proxies not to buffer", async () => {
    const clock = new ManualClock();
    const response = check(clock).stream(new Request(PATH), connection(), "r1");
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    expect(response.headers.get("cache-control")).toBe("no-store");
    expect(response.headers.has("x-accel-buffering")).toBe(false);
    const reader = response.body!.getReader();
    const next = async () => new TextDecoder().decode((await reader.read()).value);
    expect(await next()).toBe('event: part\ndata: {"part":1,"of":3}\n\n');
    expect(clock.pending).toEqual([500]);
    clock.advance(500);
    expect(await next()).toBe('event: part\ndata: {"part":2,"of":3}\n\n');
    clock.advance(500);
    expect(await next()).toBe('event: part\ndata: {"part":3,"of":3}\n\n');
    expect((await reader.read()).done).toBe(true);
    expect(clock.pending).toEqual([]);
  });

  test("refuses the 65th stream at once, and takes another when one has ended or its client has left", async () => {
    const clock = new ManualClock();
    const checks = check(clock);
    const leaving = new AbortController();
    const ask = (signal?: AbortSignal) =>
      checks.stream(new Request(PATH, signal === undefined ? {} : { signal }), connection(), "r1");
    const open = [ask(leaving.signal), ...Array.from({ length: 63 }, () => ask())];
    expect(open.map(({ status }) => status)).toEqual(Array<number>(64).fill(200));
    const refused = ask();
    expect([refused.status, refused.headers.get("retry-after")]).toEqual([503, "5"]);
    expect(await refused.json()).toMatchObject({ error: { code: "busy" } });

    leaving.abort();
    expect(ask().status).toBe(200);
    expect(ask().status).toBe(503);
    await open[1]!.body!.cancel();
    expect(ask().status).toBe(200);
    expect(ask().status).toBe(503);
    clock.advance(1_000);
    expect(ask().status).toBe(200);
  });

  test("counts a stream that ends twice only once", () => {
    const clock = new ManualClock();
    const checks = check(clock);
    const leaving = new AbortController();
    checks.stream(new Request(PATH, { signal: leaving.signal }), connection(), "r1");
    clock.advance(1_000);
    leaving.abort();
    const statuses = Array.from(
      { length: 65 },
      () => checks.stream(new Request(PATH), connection(), "r1").status,
    );
    expect(statuses.filter((status) => status === 200)).toHaveLength(64);
  });

  test("turns an upgrade into a WebSocket that says nothing and is closed after an hour", () => {
    const clock = new ManualClock();
    const tickets: unknown[] = [];
    expect(check(clock).silence(upgradeRequest(), connection(tickets), "r1")).toBeUndefined();
    const closed: number[] = [];
    const [ticket] = tickets;
    if (!(ticket instanceof SilenceTicket)) throw new Error("not a ticket of the stream check");
    ticket.open({ close: (code) => void closed.push(code) });
    clock.advance(3_599_999);
    expect(closed).toEqual([]);
    clock.advance(1);
    expect(closed).toEqual([1000]);
  });

  test("closes a silent WebSocket on which something is said", () => {
    const tickets: SilenceTicket[] = [];
    const clock = new ManualClock();
    check(clock).silence(upgradeRequest(), connection(tickets), "r1");
    const closed: number[] = [];
    const session = tickets[0]!.open({ close: (code) => void closed.push(code) });
    session.receive("hello");
    session.closed();
    expect(closed).toEqual([1008]);
    expect(clock.pending).toEqual([]);
  });

  test("refuses the 65th silent WebSocket, and takes another when one has closed", () => {
    const checks = check();
    const tickets: SilenceTicket[] = [];
    const ask = () => checks.silence(upgradeRequest(), connection(tickets), "r1")?.status;
    const sessions = Array.from({ length: 64 }, () => {
      expect(ask()).toBeUndefined();
      return tickets.pop()!.open({ close() {} });
    });
    expect(ask()).toBe(503);
    sessions[0]!.closed();
    sessions[0]!.closed();
    expect(ask()).toBeUndefined();
    tickets.pop()!.open({ close() {} });
    expect(ask()).toBe(503);
  });

  test("lets no client have so many that there is none for others", () => {
    const checks = check();
    const tickets: SilenceTicket[] = [];
    const ask = (address: string) => {
      const answer = checks.silence(upgradeRequest(), connection(tickets, address), "r1");
      return answer === undefined ? tickets.pop()!.open({ close() {} }) : answer.status;
    };
    const streams = (address: string) =>
      checks.stream(new Request(PATH), connection(undefined, address), "r1").status;
    const sessions = Array.from({ length: 8 }, () => ask("stranger"));
    expect(ask("stranger")).toBe(503);
    expect(ask("friend")).toBeObject();
    const [first] = sessions;
    if (typeof first === "object") first.closed();
    expect(ask("stranger")).toBeObject();
    expect(ask("stranger")).toBe(503);
    expect(Array.from({ length: 9 }, () => streams("stranger"))).toEqual([
      ...Array<number>(8).fill(200),
      503,
    ]);
    expect(streams("friend")).toBe(200);
  });

  test("refuses other methods and an upgrade that is incomplete", () => {
    const checks = check();
    const posted = checks.stream(new Request(PATH, { method: "POST" }), connection(), "r1");
    expect([posted.status, posted.headers.get("allow")]).toEqual([405, "GET"]);
    expect(checks.silence(new Request(LINK, { method: "POST" }), connection([]), "r1")?.status).toBe(405);
    expect(checks.silence(upgradeRequest(), connection(), "r1")?.status).toBe(400);
  });

  test("says where an upgrade was meant to be that a proxy dropped", () => {
    const answer = check().silence(new Request(LINK), connection([]), "r1")!;
    expect([answer.status, answer.headers.get("upgrade")]).toEqual([426, "websocket"]);
  });
});
