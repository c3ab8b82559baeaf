import { createHmac, randomBytes, timingSafeEqual } from "node:crypto";

/** What somebody may ask to have proven: unguessable, and short enough to stand in an address. */
const CHALLENGE = /^[0-9a-f]{32}$/;

/**
 * Shows a program on the same machine that it speaks to the very process that wrote a file, before it sends
 * a token there: another program may have come by the process's number and port since. The key stands in
 * that file, which only the relay's user can read.
 */
export class LocalProof {
  /** In hexadecimal. */
  readonly key: string;

  constructor(key: string = randomBytes(32).toString("hex")) {
    this.key = key;
  }

  /** @returns `undefined` if the challenge is none */
  answer(challenge: string): string | undefined {
    if (!CHALLENGE.test(challenge)) return undefined;
    return createHmac("sha256", Buffer.from(this.key, "hex")).update(challenge).digest("hex");
  }

  /** Whether an answer to a challenge comes from who has the same key. */
  isAnswer(challenge: string, answer: unknown): boolean {
    const expected = this.answer(challenge);
    if (expected === undefined || typeof answer !== "string" || answer.length !== expected.length)
      return false;
    return timingSafeEqual(Buffer.from(answer), Buffer.from(expected));
  }
}

export function newChallenge(): string {
  return randomBytes(16).toString("hex");
}
