/**
 * Streams whose every byte is known beforehand: the same seed gives the same text, and no two seeds
 * that a test uses give the same. Characters take one to four bytes each.
 */

const LETTERS = [
  "a",
  "Z",
  " ",
  '"',
  "\n",
  "\\",
  "é",
  "ß",
  "ж",
  "漢",
  "字",
  "€",
  "\u2028",
  "🙂",
  "🏳️‍🌈",
  "e\u0301",
];

/** A generator of whole numbers below 2^32 (mulberry32). */
function numbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
}

/** Text of so many letters. */
export function textOf(seed: number, letters: number): string {
  const next = numbers(seed);
  let text = `#${seed} `;
  for (let i = 0; i < letters; i++) text += LETTERS[next() % LETTERS.length] ?? "";
  return text;
}

/** One event of a chat stream. */
export function event(content: string): string {
  return `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`;
}

export const DONE = "data: [DONE]\n\n";

/** The events of a stream, its `[DONE]` included. */
export function eventsOf(seed: number, count: number, letters = 12): string[] {
  const events = Array.from({ length: count }, (_, i) => event(textOf(seed * 1_000 + i, letters)));
  return [...events, DONE];
}

/** The error inside the last event of a stream; `undefined` if that is none. */
export function errorAtEnd(text: string): { code: string; type: string; message: string } | undefined {
  const last = text.trimEnd().split("\n").at(-1) ?? "";
  if (!last.startsWith("data: {")) return undefined;
  return (
    JSON.parse(last.slice("data: ".length)) as { error?: { code: string; type: string; message: string } }
  ).error;
}
