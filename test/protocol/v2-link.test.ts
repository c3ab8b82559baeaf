import { describe, expect, test } from "bun:test";
import { V2_MAX_BODY, V2_WINDOW } from "../../src/protocol/limits.ts";
import { V2Pair, type Answer } from "./v2-pair.ts";

const OK = { status: 200, headers: {} };

/** A generator of numbers in [0, 1) that is the same in each run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

function bytesOf(length: number, random: () => number): Uint8Array<ArrayBuffer> {
  return Uint8Array.from({ length }, () => Math.floor(random() * 256));
}

function bodyOf(answer: Answer): Buffer {
  return Buffer.concat(answer.body);
}

describe("A v2 link", () => {
  test("carries any method, path, header and byte in both directions", () => {
    const pair = new V2Pair();
    const body = Uint8Array.from({ length: 200_000 }, (_, index) => index % 256);
    const answer = pair.ask("r1", body);
    pair.deliver();
    expect(pair.requests).toMatchObject([
      {
        id: "r1",
        model: "m",
        method: "PUT",
        path: "/v1/files?x=1",
        headers: { "content-type": "audio/wav" },
      },
    ]);
    expect(Buffer.compare(pair.requests[0]!.body, body)).toBe(0);
    const writer = pair.writers.get("r1")!;
    writer.head({ status: 429, headers: { "retry-after": "7" } });
    pair.deliver();
    expect(answer.status).toBe(429);
    writer.body(body);
    writer.end({ prompt: 3 });
    pair.deliver();
    expect(Buffer.compare(bodyOf(answer), body)).toBe(0);
    expect(answer).toMatchObject({ ending: "ended", tokens: { prompt: 3 } });
    expect(pair.errors).toEqual([]);
  });

  test("lets a response go as far as its window while its client does not read, and others all the way", () => {
    const pair = new V2Pair({ reading: false });
    const stalled = pair.ask("stalled");
    const moving = pair.ask("moving");
    pair.deliver();
    const data = new Uint8Array(4 * V2_WINDOW);
    for (const id of ["stalled", "moving"]) {
      pair.writers.get(id)!.head(OK);
      pair.writers.get(id)!.body(data);
      pair.writers.get(id)!.end();
    }
    for (;;) {
      pair.deliver();
      const before = bodyOf(moving).length;
      pair.relay.consumed("moving", V2_WINDOW);
      pair.deliver();
      if (bodyOf(moving).length === before) break;
    }
    expect({ stalled: bodyOf(stalled).length, moving: bodyOf(moving).length }).toEqual({
      stalled: V2_WINDOW,
      moving: data.length,
    });
    expect([stalled.ending, moving.ending]).toEqual(["open", "ended"]);
    expect(pair.writers.get("stalled")!.room()).toBeInstanceOf(Promise);
  });

  test("tells a writer when there is room again", async () => {
    const pair = new V2Pair({ reading: false });
    pair.ask("r1");
    pair.deliver();
    const writer = pair.writers.get("r1")!;
    writer.head(OK);
    expect(writer.room()).toBeUndefined();
    writer.body(new Uint8Array(V2_WINDOW));
    const room = writer.room();
    expect(room).toBeInstanceOf(Promise);
    pair.deliver();
    pair.relay.consumed("r1", V2_WINDOW);
    pair.deliver();
    await room;
    expect(writer.room()).toBeUndefined();
  });

  test("sends a request's body no further than the worker's window while that takes nothing", () => {
    const pair = new V2Pair();
    pair.ask("r1", new Uint8Array(2 * V2_WINDOW));
    let carried = 0;
    while (pair.requests.length === 0 && carried++ < 1_000) pair.step();
    expect(pair.requests[0]!.body.length).toBe(2 * V2_WINDOW);
  });

  test("goes on after cuts at any moment, and every byte arrives once and in order", () => {
    for (let seed = 1; seed <= 60; seed++) {
      const random = seeded(seed);
      const pair = new V2Pair({
        split: (bytes) => {
          const at = Math.floor(random() * bytes.length);
          return [bytes.slice(0, at), bytes.slice(at)].filter((part) => part.length > 0);
        },
      });
      const wanted = new Map<string, Uint8Array>();
      const sent = new Map<string, number>();
      const uploads = new Map<string, Uint8Array>();
      for (let turn = 0; turn < 400; turn++) {
        const dice = random();
        if (dice < 0.05 && wanted.size < 12) {
          const id = `r${wanted.size}`;
          wanted.set(id, bytesOf(Math.floor(random() * 3 * V2_MAX_BODY), random));
          uploads.set(id, bytesOf(Math.floor(random() * 2 * V2_MAX_BODY), random));
          pair.ask(id, uploads.get(id));
        } else if (dice < 0.5) {
          const open = [...pair.writers.entries()].filter(([, writer]) => !writer.finished);
          const [id, writer] = open[Math.floor(random() * open.length)] ?? [];
          if (id === undefined || writer === undefined) continue;
          const whole = wanted.get(id)!;
          const at = sent.get(id) ?? -1;
          if (at < 0) writer.head(OK);
          const from = Math.max(at, 0);
          const to = Math.min(whole.length, from + Math.floor(random() * 20_000));
          writer.body(whole.slice(from, to));
          if (to === whole.length) writer.end();
          sent.set(id, to);
        } else if (dice < 0.52) pair.cut();
        else pair.step();
      }
      pair.cut();
      pair.deliver();
      for (const [id, writer] of pair.writers) {
        if (writer.finished) continue;
        const at = sent.get(id) ?? -1;
        if (at < 0) writer.head(OK);
        writer.body(wanted.get(id)!.slice(Math.max(at, 0)));
        writer.end();
      }
      pair.deliver();
      expect(pair.errors).toEqual([]);
      expect(pair.requests.map(({ id }) => id)).toEqual([...wanted.keys()]);
      for (const request of pair.requests)
        expect(Buffer.compare(request.body, uploads.get(request.id)!)).toBe(0);
      for (const [id, bytes] of wanted) {
        const answer = pair.answers.get(id)!;
        expect({
          seed,
          id,
          ending: answer.ending,
          same: Buffer.compare(bodyOf(answer), bytes) === 0,
        }).toEqual({
          seed,
          id,
          ending: "ended",
          same: true,
        });
      }
      expect(pair.resumptions).toBeGreaterThan(0);
    }
  });
});
