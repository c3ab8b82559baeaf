import { z } from "zod";
import { countTokens } from "./tokens.ts";

const tokens = z.array(z.number().int().min(0)).min(1);

/** Most inputs in one request; the API's own limit for embeddings. */
const MAX_INPUTS = 2_048;

/** A prompt or embedding input: text, several texts, token numbers, or several lists of them. */
export const inputSchema = z.union(
  [z.string(), z.array(z.string()).min(1).max(MAX_INPUTS), tokens, z.array(tokens).min(1).max(MAX_INPUTS)],
  {
    error: `expected a string, an array of token numbers, or a non-empty array of at most ${MAX_INPUTS} of these`,
  },
);

/** One input. Token numbers cannot be turned back into words here, so their text is the numbers. */
export interface Input {
  text: string;
  tokens: number;
}

function readInput(input: string | number[]): Input {
  if (typeof input === "string") return { text: input, tokens: countTokens(input) };
  return { text: input.join(" "), tokens: input.length };
}

function isTokenList(input: string[] | number[] | number[][]): input is number[] {
  return typeof input[0] === "number";
}

export function readInputs(input: z.infer<typeof inputSchema>): Input[] {
  if (typeof input === "string" || isTokenList(input)) return [readInput(input)];
  return input.map(readInput);
}
