import { describe, expect, test } from "bun:test";
import { endsOf, LongText } from "../../../src/server/usage/long-text.ts";
import { seeded, split } from "./recorded.ts";

const KIB = 1024;

/** Each character tells where it stands. */
function numbered(length: number): string {
  let text = "";
  for (let n = 0; text.length < length; n++) text += `${n},`;
  return text.slice(0, length);
}

describe("LongText", () => {
  for (const length of [0, 1, 1_024, 32 * KIB, 32 * KIB + 1, 48 * KIB, 100_000, 300_001]) {
    test(`keeps both ends of ${length} bytes, however they come`, () => {
      const text = numbered(length);
      const random = seeded(length);
      const gathered = new LongText();
      for (const longest of [100, 5_000, 400_000]) {
        for (const part of split(text, random, longest)) gathered.push(part);
        for (const { head, tail } of [gathered.ends(), endsOf(Buffer.from(text))]) {
          const whole = length <= 32 * KIB;
          expect(Buffer.from(head).toString() === (whole ? text : text.slice(0, 16 * KIB))).toBe(true);
          expect(tail === undefined).toBe(whole);
          if (tail !== undefined) expect(Buffer.from(tail).toString() === text.slice(-16 * KIB)).toBe(true);
        }
        expect(gathered.length).toBe(length);
        gathered.clear();
      }
    });
  }
});
