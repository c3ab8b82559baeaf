import { describe, expect, test } from "bun:test";
import { EventFilter } from "../../../src/server/usage/event-filter.ts";
import { createUsageReader } from "../../../src/server/usage/usage-reader.ts";
import { CHAT, CHAT_NULLS, EXTRA, seeded, split } from "./recorded.ts";

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text));

/** What a client gets of these parts, and how many bytes were kept from it. */
function pass(
  parts: readonly Uint8Array<ArrayBuffer>[],
  whole = true,
): { text: string; each: number[]; removed: number } {
  const filter = new EventFilter();
  const reader = createUsageReader("events");
  const out: Uint8Array[] = [];
  let removed = 0;
  for (const part of parts) {
    out.push(filter.take(part, reader.feed(part)));
    removed += filter.takeRemoved();
  }
  const each = out.map((bytes) => bytes.length);
  out.push(filter.rest(whole) ?? new Uint8Array(0));
  return { text: Buffer.concat(out).toString(), each, removed: removed + filter.takeRemoved() };
}

const crlf = (text: string) => text.replaceAll("\n", "\r\n");
const mixed = (text: string) => text.replaceAll("\n\n", "\n\r\n");
const close = (text: string) => text.replaceAll("data: ", "data:");
const same = (text: string) => text;
const long = `data: ${JSON.stringify({ choices: [{ delta: { content: "z".repeat(40_000) } }] })}\n\n`;
const FORMS: readonly (readonly [name: string, write: (text: string) => string])[] = [
  ["LF", same],
  ["CRLF", crlf],
  ["an empty line that ends otherwise", mixed],
  ["no space after the colon", close],
];

describe("EventFilter", () => {
  for (const [name, write] of FORMS) {
    for (const recorded of [CHAT, CHAT_NULLS]) {
      const parts = recorded.parts.map(write);
      const wanted = parts.filter((part) => part !== write(EXTRA)).join("");

      test(`takes the event out and leaves every other byte: ${recorded.name}, ${name}`, () => {
        const got = pass(parts.map(bytesOf));
        expect(got.text).toBe(wanted);
        expect(got.removed).toBe(Buffer.byteLength(write(EXTRA)));
        expect(pass([bytesOf(parts.join(""))]).text).toBe(wanted);
      });

      test(`does so however the bytes are cut: ${recorded.name}, ${name}`, () => {
        const random = seeded(7);
        const text = parts.join("");
        for (const longest of [1, 2, 3, 50, 400, 5_000]) {
          for (let run = 0; run < 10; run++) {
            expect(pass(split(text, random, longest)).text).toBe(wanted);
          }
        }
      });
    }
  }

  test("leaves comments and other fields, also those right before the event, however the bytes are cut", () => {
    const kept = [": ping\n", "id: 7\nevent: chunk\n", ": a\n\n: b\n"];
    const text = kept.map((lines) => `${lines}${EXTRA}${CHAT.parts[3]}`).join("");
    const wanted = kept.map((lines) => `${lines}${CHAT.parts[3]}`).join("");
    for (const [, write] of FORMS.slice(0, 2)) {
      expect(pass([bytesOf(write(text))]).text).toBe(write(wanted));
      for (let seed = 1; seed <= 60; seed++) {
        for (const longest of [1, 4, 30, 200])
          expect(pass(split(write(text), seeded(seed), longest)).text).toBe(write(wanted));
      }
    }
  });

  test("holds back no more than 16 KiB of an event that goes on", () => {
    const parts = split(long.slice(0, 30_000), seeded(2), 1_000);
    const { each } = pass(parts);
    let behind = 0;
    for (const [n, { length }] of parts.entries()) {
      behind += length - each[n]!;
      expect(behind).toBeLessThanOrEqual(16 * 1024);
    }
    expect(behind).toBe(0);
  });

  test("takes nothing out of the rest of a comment", () => {
    const parts = [": see ", EXTRA, "data: [DONE]\n\n"];
    expect(pass(parts.map(bytesOf)).text).toBe(parts.join(""));
  });

  test("does not hold back a comment, or half of one", () => {
    expect(pass([": ping\n", ": pi", "ng\n", "\n"].map(bytesOf)).each).toEqual([7, 4, 3, 1]);
    expect(pass([": pi", `ng\n${EXTRA}`].map(bytesOf)).text).toBe(": ping\n");
  });

  test("hands each whole event on at once, and holds back only what is not whole", () => {
    const parts = CHAT.parts.filter((part) => part !== EXTRA).map(bytesOf);
    expect(pass(parts).each).toEqual(parts.map((part) => part.length));
    const first = bytesOf(CHAT.parts[0]!);
    const cut = first.length - 1;
    expect(pass([first.slice(0, cut), first.slice(cut)]).each).toEqual([0, first.length]);
    const both = bytesOf(CHAT.parts[0]! + CHAT.parts[3]!.slice(0, 9));
    expect(pass([both]).each).toEqual([first.length]);
  });

  test("hands on what was held when the stream breaks off", () => {
    const text = CHAT.parts.slice(0, 3).join("") + EXTRA.slice(0, 60);
    expect(pass([bytesOf(text)], false).text).toBe(text);
    expect(pass([bytesOf(text)], true).text).toBe(text);
  });

  test("takes the event out of a stream that ends without its empty line", () => {
    const before = CHAT.parts.slice(0, 3).join("");
    expect(pass([bytesOf(before + EXTRA.trimEnd())]).text).toBe(before);
    expect(pass([bytesOf(before + EXTRA.trimEnd())], false).text).toBe(before + EXTRA.trimEnd());
  });

  const left: [name: string, event: string][] = [
    ["usage beside a choice", 'data: {"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}\n\n'],
    ["no choices and no usage", 'data: {"choices":[],"prompt_filter_results":[]}\n\n'],
    ["no choices and usage null", 'data: {"choices":[],"usage":null}\n\n'],
    ["an error", 'data: {"error":{"message":"x"},"choices":[],"usage":{"prompt_tokens":1}}\n\n'],
    ["usage inside of something", 'data: {"choices":[],"x":{"usage":{}}}\n\n'],
    ["what is no JSON", 'data: {"choices":[],"usage":{\n\n'],
    ["choices within a string", 'data: {"c":"\\"choices\\":[]","usage":{"prompt_tokens":1}}\n\n'],
    [
      "a choice that has none itself",
      'data: {"choices":[{"x":{"choices":[]}}],"usage":{"prompt_tokens":1}}\n\n',
    ],
    ["an event of two empty choices", 'data: {"choices":[[]],"usage":{"prompt_tokens":1}}\n\n'],
  ];
  for (const [name, event] of left) {
    test(`leaves an event with ${name}`, () => {
      const text = CHAT.parts[0]! + event + "data: [DONE]\n\n";
      expect(pass([bytesOf(text)]).text).toBe(text);
      expect(pass(split(text, seeded(3), 20)).text).toBe(text);
    });
  }

  for (const [name, write] of FORMS) {
    test(`hands on an event that is too long to be the one, and takes out the next: ${name}`, () => {
      const text = write(long + EXTRA + long + "data: [DONE]\n\n");
      const wanted = write(`${long}${long}data: [DONE]\n\n`);
      const random = seeded(11);
      for (const longest of [3, 900, 30_000]) {
        const got = pass(split(text, random, longest));
        expect(got.text).toBe(wanted);
      }
    });
  }

  test("lets a stream whose lines end with CR alone pass as it is", () => {
    const text = CHAT.parts.map((part) => part.replaceAll("\n", "\r")).join("");
    const got = pass(split(text, seeded(5), 300));
    expect(got.text).toBe(text);
    expect(got.removed).toBe(0);
  });
});
