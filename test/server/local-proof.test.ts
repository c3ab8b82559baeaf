import { describe, expect, test } from "bun:test";
import { LocalProof, newChallenge } from "../../src/server/local-proof.ts";

describe("A relay's proof", () => {
  test("is known by whoever has its key, and by nobody else", () => {
    const relay = new LocalProof();
    const challenge = newChallenge();
    const answer = relay.answer(challenge);
    expect(answer).toMatch(/^[0-9a-f]{64}$/);
    expect(new LocalProof(relay.key).isAnswer(challenge, answer)).toBe(true);
    expect(new LocalProof().isAnswer(challenge, answer)).toBe(false);
    expect(relay.isAnswer(newChallenge(), answer)).toBe(false);
  });

  test.each([undefined, null, 7, "", "ab", "é".repeat(32), "0".repeat(64)])("is not %p", (answer) => {
    expect(new LocalProof().isAnswer(newChallenge(), answer)).toBe(false);
  });

  test.each(["", "x".repeat(32), "A".repeat(32), "0".repeat(31), "0".repeat(33), `${"0".repeat(32)}\n`])(
    "is not given for %j, which no command asks",
    (challenge) => {
      expect(new LocalProof().answer(challenge)).toBeUndefined();
    },
  );
});
