import { describe, expect, test } from "bun:test";
import type { Clock } from "../../src/base/clock.ts";
import { BodyReader, type BodyResult } from "../../src/server/body.ts";
import { ByteBudget } from "../../src/server/byte-budget.ts";
import { ManualClock } from "../support/manual-clock.ts";

interface Upload {
  request: Request;
  send: (bytes: Uint8Array<ArrayBuffer>) => void;
  end: () => void;
  breakOff: () => void;
}

function readBody(request: Request, limit: number, budget: ByteBudget, clock: Clock): Promise<BodyResult> {
  const declared = request.headers.get("content-length") ?? undefined;
  return new Promise((resolve) => new BodyReader(budget, clock).read(request, declared, limit, resolve));
}

/** A request whose body comes as the test says. */
function upload(declared?: number): Upload {
  let controller!: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;
  const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
    start(given) {
      controller = given;
    },
  });
  const headers = declared === undefined ? {} : { "content-length": String(declared) };
  return {
    request: {
      body,
      headers: new Headers(headers),
      arrayBuffer: () => new Response(body).arrayBuffer(),
    } as unknown as Request,
    send: (bytes) => controller.enqueue(bytes),
    end: () => controller.close(),
    breakOff: () => controller.error(new Error("cut")),
  };
}

/** Resolves when so many bytes are held. */
async function holds(budget: ByteBudget, bytes: number): Promise<void> {
  while (budget.held !== bytes) await new Promise((resolve) => setImmediate(resolve));
}

const LIMIT = 1_000_000;

describe("A request's body", () => {
  test("takes nothing from the budget for what was announced and has not come", async () => {
    const budget = new ByteBudget(LIMIT);
    const clock = new ManualClock();
    const idle = upload(LIMIT);
    const waiting = readBody(idle.request, LIMIT, budget, clock);
    const other = upload(10);
    const answer = readBody(other.request, LIMIT, budget, clock);
    other.send(new Uint8Array(10));
    other.end();
    expect(await answer).toMatchObject({ ok: true });
    expect(budget.held).toBe(10);
    idle.breakOff();
    expect(await waiting).toMatchObject({ ok: false, error: { code: "invalid_request" } });
    expect(budget.held).toBe(10);
  });

  test("that is shorter than announced is not taken for whole", async () => {
    const { request, send, end } = upload(10);
    const answer = readBody(request, LIMIT, new ByteBudget(LIMIT), new ManualClock());
    send(new Uint8Array(9));
    end();
    expect(await answer).toMatchObject({ ok: false, error: { code: "invalid_request" } });
  });

  test("that is small and does not come is given up in time", async () => {
    const clock = new ManualClock();
    const answer = readBody(upload(10).request, LIMIT, new ByteBudget(LIMIT), clock);
    clock.advance(120_000);
    expect(await answer).toMatchObject({ ok: false, error: { status: 408, code: "body_timeout" } });
  });

  test("is refused at once when it was announced to be longer than one may be", async () => {
    const budget = new ByteBudget(LIMIT);
    const { request } = upload(11);
    expect(await readBody(request, 10, budget, new ManualClock())).toMatchObject({
      ok: false,
      error: { status: 413, code: "request_too_large" },
    });
  });

  test("gives back what it took when the rest finds no room", async () => {
    const budget = new ByteBudget(100);
    const { request, send } = upload();
    const answer = readBody(request, LIMIT, budget, new ManualClock());
    send(new Uint8Array(60));
    await holds(budget, 60);
    send(new Uint8Array(60));
    expect(await answer).toMatchObject({ ok: false, error: { code: "relay_overloaded" } });
    expect(budget.held).toBe(0);
  });

  test("is whole and in order, whatever the size of its parts", async () => {
    const budget = new ByteBudget(LIMIT);
    const { request, send, end } = upload();
    const answer = readBody(request, LIMIT, budget, new ManualClock());
    const sent: number[] = [];
    for (const length of [1, 1, 4_095, 4_096, 1, 16_384, 3_000, 3_000, 3_000, 3_000, 3_000, 3_000, 1, 0, 2]) {
      const part = Uint8Array.from({ length }, (_, n) => (sent.length + n * 7) % 251);
      sent.push(...part);
      send(part);
    }
    end();
    const read = await answer;
    if (!read.ok) throw new Error(read.error.message);
    expect(Buffer.from(read.bytes).equals(Buffer.from(sent))).toBe(true);
    expect(budget.held).toBe(sent.length);
  });

  test("costs little more than its bytes when each comes alone", async () => {
    const budget = new ByteBudget(LIMIT);
    const { request, send, end } = upload();
    const answer = readBody(request, LIMIT, budget, new ManualClock());
    Bun.gc(true);
    const before = process.memoryUsage().rss;
    for (let n = 0; n < 300_000; n += 1_000) {
      for (let m = 0; m < 1_000; m++) send(new Uint8Array([m % 251]));
      await holds(budget, n + 1_000);
    }
    Bun.gc(true);
    // Kept one by one they take some 60 MB.
    expect(process.memoryUsage().rss - before).toBeLessThan(25_000_000);
    end();
    expect(await answer).toMatchObject({ ok: true });
  });

  test("may be slow, but not so slow that it only holds memory", async () => {
    const budget = new ByteBudget(LIMIT);
    const clock = new ManualClock();
    const { request, send } = upload();
    const answer = readBody(request, LIMIT, budget, clock);
    send(new Uint8Array(140_000));
    await holds(budget, 140_000);
    clock.advance(130_000);
    expect(budget.held).toBe(140_000);
    clock.advance(30_000);
    expect(await answer).toMatchObject({ ok: false, error: { status: 408, code: "body_timeout" } });
    expect(budget.held).toBe(0);
  });
});
