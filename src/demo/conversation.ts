import { z } from "zod";
import { countTokens, IMAGE_TOKENS } from "./tokens.ts";

/** One message of any dialect, reduced to what the demonstration model looks at. */
export interface Turn {
  role: "system" | "user" | "assistant" | "tool";
  text: string;
  images: number;
  /** Whose result this is, in a `tool` turn whose call is in the conversation. */
  tool?: string | undefined;
}

export interface Tool {
  name: string;
  /** JSON Schema of the arguments, as the client sent it. */
  schema: unknown;
}

/** `{ name }` forces that tool. */
export type ToolChoice = "auto" | "none" | "required" | { name: string };

/** A generation request without its dialect. */
export interface Prompt {
  turns: Turn[];
  tools: Tool[];
  choice: ToolChoice;
  /** Whether one reply may hold several tool calls. */
  parallel: boolean;
  /** Upper bound of the reply in tokens; `undefined` for none. */
  maxTokens: number | undefined;
  stops: string[];
  /** Set when the reply must be JSON; `schema` is `undefined` when any JSON will do. */
  json: { schema: unknown } | undefined;
}

/** A prompt with nothing but turns. */
export function promptOf(turns: Turn[], settings: Partial<Prompt> = {}): Prompt {
  return {
    turns,
    tools: [],
    choice: "auto",
    parallel: true,
    maxTokens: undefined,
    stops: [],
    json: undefined,
    ...settings,
  };
}

/** What a chat template adds around each message, in tokens. */
const TEMPLATE_TOKENS = 4;

/** Tokens that the prompt counts as: messages, images and tool definitions. */
export function countPrompt(prompt: Prompt): number {
  let total = 0;
  for (const turn of prompt.turns) {
    total += countTokens(turn.text) + turn.images * IMAGE_TOKENS + TEMPLATE_TOKENS;
  }
  for (const tool of prompt.tools) total += countTokens(JSON.stringify([tool.name, tool.schema]));
  return total;
}

/** Message content of every dialect: a string, or parts of which those with text or an image are read. */
export const contentSchema = z.union(
  [z.string(), z.array(z.looseObject({ type: z.string(), text: z.string().optional() }))],
  { error: "expected a string or an array of content parts" },
);

export type Content = z.infer<typeof contentSchema>;

const IMAGE_TYPES = new Set(["image_url", "input_image", "image"]);

/** Text and number of images of a message's content. */
export function flattenContent(content: Content | null | undefined): { text: string; images: number } {
  if (content === null || content === undefined) return { text: "", images: 0 };
  if (typeof content === "string") return { text: content, images: 0 };
  const texts = content.flatMap((part) => (part.text === undefined ? [] : [part.text]));
  return { text: texts.join("\n"), images: content.filter((part) => IMAGE_TYPES.has(part.type)).length };
}

/** `stop` as the APIs take it: absent, one string, or several. */
export const stopSchema = z.union([z.string(), z.array(z.string())], {
  error: "expected a string or an array of strings",
});

export function stopList(stop: string | string[] | null | undefined): string[] {
  const list = typeof stop === "string" ? [stop] : (stop ?? []);
  return list.filter((sequence) => sequence !== "");
}

/** A limit of output tokens; `null` counts as absent, as the official SDKs send it. */
export const limitSchema = z.number().int().min(1).nullish();
