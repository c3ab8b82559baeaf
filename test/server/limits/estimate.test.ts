import { describe, expect, test } from "bun:test";
import { leastNeed, longestAnswer, needOf, promptTokens } from "../../../src/server/limits/estimate.ts";

const JSON_TYPE = "application/json";
const CHAT = "/v1/chat/completions";
const bytesOf = (value: unknown) => new Uint8Array(Buffer.from(JSON.stringify(value)));
/** A text of so many bytes. */
const sized = (bytes: number) => new Uint8Array(Buffer.from("x".repeat(bytes)));

describe("The tokens that a request will need", () => {
  const NEEDS: [
    title: string,
    path: string,
    type: string,
    asked: number | undefined,
    sure: number,
    guess: number,
  ][] = [
    ["a chat that names no longest answer", CHAT, JSON_TYPE, undefined, 100, 1_000],
    ["a chat that does", CHAT, JSON_TYPE, 50, 150, 0],
    ["a message", "/v1/messages", JSON_TYPE, 9, 109, 0],
    ["an embedding, which has no answer", "/v1/embeddings", JSON_TYPE, 50, 100, 0],
    ["a count", "/v1/messages/count_tokens", JSON_TYPE, 50, 0, 0],
    ["a recording", "/v1/audio/transcriptions", "multipart/form-data; boundary=x", undefined, 0, 0],
  ];
  test.each(NEEDS)("of %s", (_, path, type, asked, sure, guess) => {
    expect(needOf("POST", path, type, sized(400), asked)).toMatchObject({ sure, guess });
  });

  test("are none for what only reads", () => {
    expect(needOf("GET", CHAT, "", new Uint8Array(), undefined)).toEqual({ sure: 0, guess: 0 });
    expect([leastNeed("GET", CHAT).sure, leastNeed("POST", CHAT).sure]).toEqual([0, 1]);
    expect(leastNeed("POST", "/api/show").sure).toBe(0);
  });

  test("do not count the bytes of pictures", () => {
    const picture = "A".repeat(400_000);
    const openai = {
      messages: [
        {
          content: [
            { type: "text", text: "base64 is what?" },
            { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
            { type: "image_url", image_url: { url: `data:image/png;base64,${picture}` } },
          ],
        },
      ],
    };
    expect(promptTokens(bytesOf(openai))).toBeWithin(2_000, 2_200);
    const anthropic = {
      messages: [
        { content: [{ type: "image", source: { type: "base64", media_type: "image/png", data: picture } }] },
      ],
    };
    expect(promptTokens(bytesOf(anthropic))).toBeWithin(1_000, 1_100);
    const long = { messages: [{ content: "word ".repeat(80_000) }] };
    expect(promptTokens(bytesOf(long))).toBeGreaterThan(100_000);
  });

  test("have the longest answer of a body that was not parsed", () => {
    const body = bytesOf({ messages: ['say "max_tokens":7 to me', "x".repeat(40_000)], max_tokens: 321 });
    expect(needOf("POST", CHAT, JSON_TYPE, body, undefined)).toEqual({
      sure: promptTokens(body) + 321,
      guess: 0,
    });
    const odd = bytesOf({ a: "x".repeat(40_000), max_tokens: "many" });
    expect(needOf("POST", CHAT, JSON_TYPE, odd, undefined).guess).toBe(1_000);
  });

  const BODIES: [body: object, tokens: number | null][] = [
    [{ max_tokens: 5 }, 5],
    [{ max_completion_tokens: 6, max_tokens: 5 }, 6],
    [{ max_output_tokens: 7 }, 7],
    [{ max_tokens: 5, n: 3 }, 15],
    [{ options: { num_predict: 8 } }, 8],
    [{ options: { num_predict: -1 } }, null],
    [{ options: null }, null],
    [{ max_tokens: -5 }, null],
    [{ max_tokens: 1.5 }, null],
    [{ max_tokens: "5" }, null],
    [{ max_tokens: 5, n: "x" }, 5],
    [{}, null],
  ];
  test.each(BODIES)("take the longest answer of %j as %p", (body, tokens) => {
    expect(longestAnswer(body)).toBe(tokens as number);
  });
});
