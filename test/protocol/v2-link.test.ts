import { describe, expect, test } from "bun:test";
import { V2_MAX_BODY, V2_WINDOW } from "../../src/protocol/limits.ts";
import type { ResponseWriter } from "../../src/protocol/link.ts";
import { forSeeds } from "../fuzz/random.ts";
import { V2Pair, type Answer } from "./v2-pair.ts";

const OK = { status: 200, headers: {} };

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
    const pair = new V2Pair({ reading: () => false });
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
    const pair = new V2Pair({ reading: () => false });
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
    forSeeds(60, (random, seed) => {
      const pair = new V2Pair({ split: (bytes) => random.split(bytes) });
      const wanted = new Map<string, Uint8Array<ArrayBuffer>>();
      const sent = new Map<string, number>();
      const uploads = new Map<string, Uint8Array<ArrayBuffer>>();
      /** Writes so much more of an answer, and its end with the last of it. */
      const write = (id: string, writer: ResponseWriter, length: number): void => {
        const whole = wanted.get(id)!;
        const from = sent.get(id);
        if (from === undefined) writer.head(OK);
        const to = Math.min(whole.length, (from ?? 0) + length);
        writer.body(whole.slice(from ?? 0, to));
        if (to === whole.length) writer.end();
        sent.set(id, to);
      };
      for (let turn = 0; turn < 400; turn++) {
        const dice = random.below(100);
        if (dice < 5 && wanted.size < 12) {
          const id = `r${wanted.size}`;
          wanted.set(id, random.bytes(random.below(3 * V2_MAX_BODY)));
          uploads.set(id, random.bytes(random.below(2 * V2_MAX_BODY)));
          pair.ask(id, uploads.get(id));
        } else if (dice < 50) {
          const open = [...pair.writers].filter(([, writer]) => !writer.finished);
          if (open.length > 0) write(...random.pick(open), random.below(20_000));
        } else if (dice < 52) pair.cut();
        else pair.step();
      }
      pair.cut();
      pair.deliver();
      for (const [id, writer] of pair.writers) if (!writer.finished) write(id, writer, Infinity);
      pair.deliver();
      expect(pair.errors).toEqual([]);
      expect(pair.resumptions).toBeGreaterThan(0);
      expect(pair.requests.map(({ id }) => id)).toEqual([...wanted.keys()]);
      for (const { id, body } of pair.requests) expect(Buffer.compare(body, uploads.get(id)!)).toBe(0);
      for (const [id, bytes] of wanted) {
        const answer = pair.answers.get(id)!;
        const same = Buffer.compare(bodyOf(answer), bytes) === 0;
        expect({ seed, id, ending: answer.ending, same }).toEqual({ seed, id, ending: "ended", same: true });
      }
    });
  });
});
