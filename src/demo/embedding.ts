import { splitTokens } from "./tokens.ts";

/** Length of a vector where the client names none. */
export const DEFAULT_DIMENSIONS = 384;

/** Places of the vector that one word touches. */
const TOUCHES = 8;

/** Share of noise from the whole text: keeps vectors of different texts apart, and none at zero. */
const NOISE = 0.05;

/** A pseudo-random sequence in [-1, 1): xorshift32 (Marsaglia 2003). */
function randomFrom(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return state / 2 ** 31;
  };
}

/** The same hash everywhere: 32-bit FNV-1a over UTF-16 code units. */
function hashText(text: string): number {
  let hash = 0x81_1c_9d_c5;
  for (let index = 0; index < text.length; index += 1) {
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01_00_01_93);
  }
  return hash;
}

/**
 * A unit vector made from the text alone. Words are hashed to places of the vector, so texts that share
 * words lie closer than texts that do not; that is all it knows of meaning.
 */
export function embedText(text: string, dimensions: number): Float32Array {
  const vector = new Float32Array(dimensions);
  const noise = randomFrom(hashText(text));
  for (let place = 0; place < dimensions; place += 1) vector[place] = NOISE * noise();
  for (const word of splitTokens(text.toLowerCase())) {
    const random = randomFrom(hashText(word.trim()));
    for (let touch = 0; touch < TOUCHES; touch += 1) {
      const place = Math.floor(((random() + 1) / 2) * dimensions);
      vector[place] = (vector[place] ?? 0) + Math.sign(random());
    }
  }
  const length = Math.hypot(...vector);
  return vector.map((value) => value / length);
}
