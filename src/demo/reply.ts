import type { Prompt, Tool, Turn } from "./conversation.ts";
import { Refusal } from "./refusal.ts";
import { sampleOf } from "./schema-sample.ts";
import { countTokens, splitTokens } from "./tokens.ts";

/** One call of a tool; `input` as a value, `pieces` as the JSON text in the pieces it is streamed in. */
export interface ToolCall {
  name: string;
  input: unknown;
  pieces: string[];
}

/** What the model says, before any dialect. It holds text or calls, never both. */
export interface Reply {
  /** Token by token; joined, it is the text. */
  pieces: string[];
  calls: ToolCall[];
  finish: "end" | "length" | "stop_sequence" | "tool_calls";
  /** The sequence that ended the text, with finish `stop_sequence`. */
  stopSequence: string | undefined;
  outputTokens: number;
}

const INTRODUCTION =
  "This is the built-in demonstration model of modelrelay. It has no intelligence: it only repeats what it was sent.";

const ADVICE =
  "To get real answers, start Ollama, llama.cpp, vLLM or LM Studio on this machine and run `modelrelay demo` " +
  "again, or attach any OpenAI-compatible server with " +
  "`modelrelay worker --backend-url http://127.0.0.1:11434 --models '*'`.";

function describeImages(count: number): string {
  if (count === 0) return "";
  return count === 1
    ? " It came with 1 image, which is not looked at."
    : ` It came with ${count} images, which are not looked at.`;
}

/** The tool results that the conversation ends with; empty if it ends otherwise. */
function trailingResults(turns: Turn[]): Turn[] {
  const last = turns.findLastIndex((turn) => turn.role !== "tool");
  return turns.slice(last + 1);
}

function lastUserTurn(turns: Turn[]): Turn | undefined {
  return turns.findLast((turn) => turn.role === "user");
}

function quoteConversation(turns: Turn[]): string {
  const results = trailingResults(turns);
  if (results.length > 0) {
    const quotes = results.map(
      (turn) => `${turn.tool === undefined ? "The tool" : `The tool "${turn.tool}"`} returned: ${turn.text}`,
    );
    return quotes.join("\n");
  }
  const user = lastUserTurn(turns);
  if (user === undefined) return "There was no user message to repeat.";
  return `Your last message was: "${user.text}"${describeImages(user.images)}`;
}

function writeText(prompt: Prompt): string {
  if (prompt.json === undefined) return `${INTRODUCTION}\n\n${quoteConversation(prompt.turns)}\n\n${ADVICE}`;
  if (prompt.json.schema !== undefined) return JSON.stringify(sampleOf(prompt.json.schema));
  return JSON.stringify({ note: INTRODUCTION, echo: quoteConversation(prompt.turns), advice: ADVICE });
}

/** The tools that this turn of the conversation calls: those forced, or those named in "call <tool>". */
function chooseTools(prompt: Prompt): Tool[] {
  const { tools, choice } = prompt;
  if (choice === "none" || trailingResults(prompt.turns).length > 0) return [];
  if (typeof choice === "object") {
    const forced = tools.find((tool) => tool.name === choice.name);
    if (forced !== undefined) return [forced];
    throw new Refusal(400, `Cannot call tool "${choice.name}": it is not among "tools"`, {
      param: "tool_choice",
    });
  }
  const last = prompt.turns.at(-1);
  const text = last?.role === "user" ? last.text : "";
  const asked = [...text.matchAll(/\bcall\s+[`"']?([\w.-]+)/gi)].map(([, name]) => name);
  const named = tools.filter((tool) => asked.some((name) => name === tool.name || name === `${tool.name}.`));
  if (named.length > 0) return prompt.parallel ? named : named.slice(0, 1);
  return choice === "required" ? tools.slice(0, 1) : [];
}

function callTools(chosen: Tool[], maxTokens: number): Reply {
  const calls: ToolCall[] = [];
  let outputTokens = 0;
  for (const tool of chosen) {
    const input = sampleOf(tool.schema ?? { type: "object" });
    const pieces = splitTokens(JSON.stringify(input));
    const cost = pieces.length + countTokens(tool.name);
    // Half a call is of no use to a client, so one that does not fit is left out.
    if (outputTokens + cost > maxTokens)
      return { pieces: [], calls, finish: "length", stopSequence: undefined, outputTokens };
    outputTokens += cost;
    calls.push({ name: tool.name, input, pieces });
  }
  return { pieces: [], calls, finish: "tool_calls", stopSequence: undefined, outputTokens };
}

function firstStop(text: string, stops: string[]): { index: number; sequence: string } | undefined {
  const hits = stops.map((sequence) => ({ index: text.indexOf(sequence), sequence }));
  return hits.filter((hit) => hit.index >= 0).sort((a, b) => a.index - b.index)[0];
}

/**
 * The model itself: the same prompt always gets the same reply.
 *
 * @throws {Refusal} if `choice` forces a tool that is not there
 */
export function composeReply(prompt: Prompt): Reply {
  const maxTokens = prompt.maxTokens ?? Number.POSITIVE_INFINITY;
  const chosen = chooseTools(prompt);
  if (chosen.length > 0) return callTools(chosen, maxTokens);
  const text = writeText(prompt);
  const stop = firstStop(text, prompt.stops);
  const pieces = splitTokens(stop === undefined ? text : text.slice(0, stop.index));
  if (pieces.length > maxTokens) {
    return {
      pieces: pieces.slice(0, maxTokens),
      calls: [],
      finish: "length",
      stopSequence: undefined,
      outputTokens: maxTokens,
    };
  }
  return {
    pieces,
    calls: [],
    finish: stop === undefined ? "end" : "stop_sequence",
    stopSequence: stop?.sequence,
    outputTokens: pieces.length,
  };
}
