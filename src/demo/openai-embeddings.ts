import { z } from "zod";
import { readBody, type Call } from "./call.ts";
import { DEFAULT_DIMENSIONS, embedText } from "./embedding.ts";
import { inputSchema, readInputs } from "./token-input.ts";

/** `POST /v1/embeddings`: https://platform.openai.com/docs/api-reference/embeddings */

const bodySchema = z.looseObject({
  input: inputSchema,
  dimensions: z.number().int().min(1).max(4_096).nullish(),
  encoding_format: z.enum(["float", "base64"]).nullish(),
});

/** The vector's bytes as the API sends them: 32-bit floats, little-endian. */
function toBase64(vector: Float32Array): string {
  const bytes = Buffer.alloc(vector.length * 4);
  for (const [index, value] of vector.entries()) bytes.writeFloatLE(value, index * 4);
  return bytes.toString("base64");
}

export function answerEmbeddings(call: Call): Response {
  const body = readBody(call, bodySchema);
  const inputs = readInputs(body.input);
  const tokens = inputs.reduce((sum, input) => sum + input.tokens, 0);
  return Response.json({
    object: "list",
    data: inputs.map(({ text }, index) => {
      const vector = embedText(text, body.dimensions ?? DEFAULT_DIMENSIONS);
      return {
        object: "embedding",
        index,
        embedding: body.encoding_format === "base64" ? toBase64(vector) : [...vector],
      };
    }),
    model: call.model,
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  });
}
