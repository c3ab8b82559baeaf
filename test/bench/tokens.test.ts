import { describe, expect, test } from "bun:test";
import { SEQUENCE_OFFSET, STREAM_END, TOKEN_BYTES, encodeTokens } from "../../bench/completion.ts";
import { TokenReader } from "../../bench/tokens.ts";

const STAMP = 1_700_000_000_000;
const stampOf = (sequence: number) => STAMP + sequence / 1_000;

/** The stream that the backend writes: tokens [0, count) and the end. */
function stream(count: number): Buffer {
  return Buffer.concat([encodeTokens(0, count, stampOf), STREAM_END]);
}

function read(bytes: Buffer, size: number) {
  const stamps: number[] = [];
  const reader = new TokenReader((stamp) => stamps.push(stamp));
  for (let at = 0; at < bytes.length; at += size) reader.push(bytes, at, Math.min(bytes.length, at + size));
  const { tokens, misplaced, others, done, heldBytes } = reader;
  return { stamps, counts: { tokens, misplaced, others, done, heldBytes } };
}

const WHOLE = { tokens: 20, misplaced: 0, others: 1, done: true, heldBytes: 0 };

describe("TokenReader", () => {
  for (const size of [1, 2, 17, TOKEN_BYTES - 1, TOKEN_BYTES, TOKEN_BYTES + 1, 100_000]) {
    test(`counts every token and reads its stamp in pieces of ${size} bytes`, () => {
      const { stamps, counts } = read(stream(20), size);
      expect(counts).toEqual(WHOLE);
      expect(stamps.map((stamp) => Math.round((stamp - STAMP) * 1_000))).toEqual(
        Array.from({ length: 20 }, (_, i) => i),
      );
    });
  }

  test("notices a token that is lost", () => {
    const bytes = Buffer.concat([encodeTokens(0, 3, stampOf), encodeTokens(4, 16, stampOf), STREAM_END]);
    expect(read(bytes, 64).counts).toEqual({ ...WHOLE, tokens: 19, misplaced: 1 });
  });

  test("notices a token that comes twice", () => {
    const bytes = Buffer.concat([encodeTokens(0, 3, stampOf), encodeTokens(2, 18, stampOf), STREAM_END]);
    expect(read(bytes, 64).counts).toEqual({ ...WHOLE, tokens: 21, misplaced: 1 });
  });

  test("notices a token whose bytes were damaged", () => {
    const bytes = stream(20);
    bytes[TOKEN_BYTES * 5 + SEQUENCE_OFFSET + 7] = 0x3f;
    // The damaged one, and the one after it, which has nothing to follow.
    expect(read(bytes, 64).counts).toEqual({ ...WHOLE, misplaced: 2 });
  });

  test("notices a stream that was cut", () => {
    expect(read(stream(20).subarray(0, -1), 64).counts).toMatchObject({
      tokens: 20,
      done: false,
      heldBytes: 13,
    });
    expect(read(stream(20).subarray(0, TOKEN_BYTES * 4 + 10), 64).counts).toMatchObject({
      tokens: 4,
      done: false,
      heldBytes: 10,
    });
  });

  test("passes over keep-alive comments, empty events and other fields", () => {
    const pieces = [": ping\n\n", "\n\n", ":\n", "event: ping\n\n", "id: 7\n"];
    const tokens = Array.from({ length: 20 }, (_, i) =>
      Buffer.concat([Buffer.from(pieces[i % 5] ?? ""), encodeTokens(i, 1, stampOf)]),
    );
    for (const size of [1, 50, 100_000])
      expect(read(Buffer.concat([...tokens, STREAM_END]), size).counts).toEqual(WHOLE);
  });

  test("reads tokens from a relay that writes its own line ends and its own JSON", () => {
    const rewritten = stream(20)
      .toString()
      .replaceAll("\n", "\r\n")
      .replaceAll('"object":', '"via":"other","object":');
    for (const size of [1, 33, 100_000]) {
      const { stamps, counts } = read(Buffer.from(rewritten), size);
      expect(counts).toEqual(WHOLE);
      expect(Math.round(((stamps[19] ?? 0) - STAMP) * 1_000)).toBe(19);
    }
  });
});
