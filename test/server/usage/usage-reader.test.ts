import { describe, expect, test } from "bun:test";
import { createUsageReader, framingOf, type UsageReader } from "../../../src/server/usage/usage-reader.ts";
import { CHAT_NULLS, seeded, split, STREAMS, WHOLE, type Recorded } from "./recorded.ts";

const readerOf = ({ contentType }: Recorded): UsageReader => createUsageReader(framingOf(contentType)!);
const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));

describe("UsageReader", () => {
  for (const recorded of [...STREAMS, ...WHOLE]) {
    test(`finds what is reported, part by part and all at once: ${recorded.name}`, () => {
      const parts = readerOf(recorded);
      for (const part of recorded.parts) parts.feed(bytesOf(part));
      const once = readerOf(recorded);
      once.feed(bytesOf(recorded.parts.join("")));
      expect([parts.report(), once.report()]).toEqual([recorded.report, recorded.report]);
    });

    test(`finds it however the bytes are cut: ${recorded.name}`, () => {
      const text = recorded.parts.join("");
      const random = seeded(text.length);
      for (const longest of text.length > 50_000 ? [5_000, 70_000] : [1, 2, 7, 40, 300]) {
        for (let run = 0; run < 5; run++) {
          const reader = readerOf(recorded);
          for (const part of split(text, random, longest)) reader.feed(part);
          expect(reader.report()).toEqual(recorded.report);
        }
      }
    });
  }

  test("passes over events in which usage is null", () => {
    const reader = readerOf(CHAT_NULLS);
    const looked = CHAT_NULLS.parts.filter((part) => !reader.feed(bytesOf(part)));
    // The first eight, to know how long one is, and the one with usage.
    expect(looked).toHaveLength(9);
  });

  test.each([[9_999_999_999], [100_000_001], [1e308], [-1], [0.5], ["7"]])(
    "takes %p for no count: one mistake would use up a budget for good",
    (completion) => {
      const reader = createUsageReader("whole");
      reader.feed(
        bytesOf(JSON.stringify({ usage: { prompt_tokens: 100_000_000, completion_tokens: completion } })),
      );
      expect(reader.report()).toEqual({ prompt: 100_000_000 });
    },
  );

  test("does not pass over the rest of an event that was cut", () => {
    const reader = readerOf(CHAT_NULLS);
    for (const part of CHAT_NULLS.parts.slice(0, 10)) reader.feed(bytesOf(part));
    const next = CHAT_NULLS.parts[11]!;
    expect([reader.feed(bytesOf(next.slice(0, 50))), reader.feed(bytesOf(next.slice(50)))]).toEqual([
      false,
      false,
    ]);
    expect(reader.feed(bytesOf(next))).toBe(true);
  });

  test("keeps no more of an event without end than both its ends", () => {
    const reader = createUsageReader("events");
    const part = Buffer.alloc(1024 * 1024, "z");
    reader.feed(bytesOf('data: {"type":"response.completed","response":{"model":"m","output":"'));
    Bun.gc(true);
    const before = process.memoryUsage.rss();
    for (let n = 0; n < 200; n++) reader.feed(part);
    expect(process.memoryUsage.rss() - before).toBeLessThan(40 * 1024 * 1024);
    reader.feed(bytesOf('","usage":{"input_tokens":3,"output_tokens":4}}}\n\n'));
    expect(reader.report()).toEqual({ model: "m", prompt: 3, completion: 4 });
  });

  test("knows how long an event of the stream is, whatever stands between them", () => {
    const reader = readerOf(CHAT_NULLS);
    for (const part of CHAT_NULLS.parts) reader.feed(bytesOf(part));
    const usual = CHAT_NULLS.parts[7]!.length;
    expect(Math.abs(reader.eventBytes! - usual)).toBeLessThan(20);
  });

  test("reads nothing from answers that are no text of theirs", () => {
    expect(["audio/mpeg", "text/plain", "", "application/octet-stream"].map(framingOf)).toEqual(
      Array(4).fill(undefined),
    );
    expect(framingOf("application/problem+json")).toBe("whole");
  });
});
