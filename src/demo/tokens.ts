/** Longest run of letters that counts as one token; about where real vocabularies split a long word. */
const PIECE = /\s*(?:[\p{L}\p{M}\p{N}_]{1,12}|[^\p{L}\p{M}\p{N}_\s])|\s+/gu;

/** What an image counts as, in tokens: the low-detail price of the OpenAI API. */
export const IMAGE_TOKENS = 85;

/**
 * Splits text into token-like pieces: a word or a mark with the space before it. The pieces joined are
 * the text, and none ends inside a character.
 */
export function splitTokens(text: string): string[] {
  return text.match(PIECE) ?? [];
}

/** Number of pieces that `splitTokens` gives, so that streamed and whole answers count alike. */
export function countTokens(text: string): number {
  return splitTokens(text).length;
}
