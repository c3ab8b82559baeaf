import { describe, expect, test } from "bun:test";
import {
  TOKEN_BYTES,
  decodeQuestion,
  encodeAnswer,
  encodeQuestion,
  encodeTokens,
} from "../../bench/completion.ts";

describe("the bench's chat messages", () => {
  test("a token is one well-formed completion chunk of constant length", () => {
    const [first, second] = [
      encodeTokens(0, 1, () => 1.5),
      encodeTokens(12_345_678, 1, () => 1_795_271_722_511.07),
    ];
    expect([first.length, second.length]).toEqual([TOKEN_BYTES, TOKEN_BYTES]);
    const text = Buffer.from(second).toString();
    expect(text.endsWith("\n\n")).toBe(true);
    const chunk = JSON.parse(text.slice("data: ".length)) as { choices: { delta: { content: string } }[] };
    expect(chunk.choices[0]?.delta.content).toBe("12345678 1795271722511070 ");
    expect(Buffer.from(first).toString()).toContain('"00000000 0000000000001500 "');
  });

  test.each([300, 1_000_000])(
    "a question of %d bytes has that length and says what it wants in its first bytes",
    (bytes) => {
      const body = encodeQuestion({ tokens: 5, intervalMs: 50 }, true, bytes);
      expect(body.length).toBe(bytes);
      expect(decodeQuestion(body)).toEqual({ bench: { tokens: 5, intervalMs: 50 }, stream: true });
      const parsed = JSON.parse(body.toString()) as { model: string; messages: { role: string }[] };
      expect([parsed.model, parsed.messages[0]?.role]).toEqual(["bench", "user"]);
    },
  );

  test("a question without wishes gets the defaults and is not streamed", () => {
    expect(decodeQuestion(Buffer.from('{"model":"bench","messages":[]}'))).toEqual({
      bench: {},
      stream: false,
    });
  });

  test("an answer carries the text asked for and the bytes received", () => {
    const answer = JSON.parse(Buffer.from(encodeAnswer(10, 77)).toString()) as {
      choices: { message: { content: string } }[];
      usage: object;
    };
    expect(answer.choices[0]?.message.content).toBe("xxxxxxxxxx");
    expect(answer.usage).toEqual({ prompt_tokens: 77, completion_tokens: 10, total_tokens: 87 });
  });
});
