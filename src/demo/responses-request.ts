import { z } from "zod";
import {
  contentSchema,
  flattenContent,
  limitSchema,
  promptOf,
  type Prompt,
  type ToolChoice,
  type Turn,
} from "./conversation.ts";

const itemSchema = z.looseObject({
  /** Absent on the short form of a message. */
  type: z.string().nullish(),
  role: z.enum(["system", "developer", "user", "assistant"]).optional(),
  content: contentSchema.nullish(),
});

/** Body of `POST /v1/responses`: https://platform.openai.com/docs/api-reference/responses */
export const responsesSchema = z.looseObject({
  input: z.union([z.string(), z.array(itemSchema).min(1)], {
    error: "expected a string or an array of input items",
  }),
  instructions: z.string().nullish(),
  tools: z.array(z.looseObject({ type: z.string(), name: z.string().optional() })).nullish(),
  tool_choice: z
    .union(
      [
        z.enum(["auto", "none", "required"]),
        z.looseObject({ type: z.string(), name: z.string().optional() }),
      ],
      {
        error: 'expected "auto", "none", "required" or a function',
      },
    )
    .nullish(),
  parallel_tool_calls: z.boolean().nullish(),
  max_output_tokens: limitSchema,
  stream: z.boolean().nullish(),
  text: z.looseObject({ format: z.looseObject({ type: z.string() }).nullish() }).nullish(),
});

export type ResponsesBody = z.infer<typeof responsesSchema>;

function readItem(item: z.infer<typeof itemSchema>, callNames: Map<string, string>): Turn[] {
  switch (item.type ?? "message") {
    case "message":
      return [
        {
          role: item.role === "developer" ? "system" : (item.role ?? "user"),
          ...flattenContent(item.content),
        },
      ];
    case "function_call":
      callNames.set(String(item["call_id"]), String(item["name"]));
      return [{ role: "assistant", text: String(item["arguments"]), images: 0 }];
    case "function_call_output": {
      const output = contentSchema.safeParse(item["output"]);
      const flat = flattenContent(output.success ? output.data : undefined);
      return [{ role: "tool", ...flat, tool: callNames.get(String(item["call_id"])) }];
    }
    default:
      // Reasoning, references and calls of hosted tools say nothing to this model.
      return [];
  }
}

function readChoice(choice: ResponsesBody["tool_choice"]): ToolChoice {
  if (typeof choice === "string") return choice;
  return choice?.type === "function" ? { name: choice.name ?? "" } : "auto";
}

function readFormat(text: ResponsesBody["text"]): Prompt["json"] {
  const format = text?.format;
  if (format?.type === "json_schema") return { schema: format["schema"] };
  return format?.type === "json_object" ? { schema: undefined } : undefined;
}

export function readResponsesPrompt(body: ResponsesBody): Prompt {
  const callNames = new Map<string, string>();
  const system: Turn[] = body.instructions ? [{ role: "system", text: body.instructions, images: 0 }] : [];
  const turns: Turn[] =
    typeof body.input === "string"
      ? [{ role: "user", text: body.input, images: 0 }]
      : body.input.flatMap((item) => readItem(item, callNames));
  return promptOf([...system, ...turns], {
    tools: (body.tools ?? []).flatMap((tool) =>
      tool.type === "function" && tool.name !== undefined
        ? [{ name: tool.name, schema: tool["parameters"] }]
        : [],
    ),
    choice: readChoice(body.tool_choice),
    parallel: body.parallel_tool_calls !== false,
    maxTokens: body.max_output_tokens ?? undefined,
    json: readFormat(body.text),
  });
}
