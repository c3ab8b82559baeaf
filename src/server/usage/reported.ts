import { COLON, OPEN_BRACE } from "../../protocol/json-bytes.ts";
import { isDepth, scanObject, skipBlank, valueEnd } from "./json-spans.ts";
import type { TextEnds } from "./long-text.ts";

/** What a backend says of a request in one JSON text; what it does not say is absent. */
export interface Report {
  model?: string;
  /** All of the prompt's tokens, those that the backend had already included. */
  prompt?: number;
  completion?: number;
  cached?: number;
}

/** An object of this length is no usage. */
const MAX_USAGE = 8 * 1024;
const MAX_MODEL = 1024;
/** A text up to this is parsed whole rather than looked through for each name. */
const PARSED_WHOLE = 2 * 1024;
/** Of each end of a text. */
const LOOKED_AT = 16 * 1024;
/** Members of one name that are looked at: a tool may have some of its own. */
const MAX_LOOKS = 16;

const decoder = new TextDecoder();

/** Whether `text` stands somewhere in the bytes, which are as they came from a socket. */
export function find(bytes: Uint8Array, text: string, from = 0): number {
  // A text as the needle takes half the time of bytes, and only a Buffer takes one.
  return asBuffer(bytes).indexOf(text, from, "latin1");
}

/** Whether a member `"usage"` is in there that is an object; `"usage":null` is in each event of some backends. */
export function hasUsage(bytes: Uint8Array): boolean {
  return hasMember(bytes, '"usage"', (first) => first === OPEN_BRACE);
}

/** Whether Ollama's counts are in there, which only its last line has. */
export function hasCounts(bytes: Uint8Array): boolean {
  return hasMember(bytes, 'eval_count"', () => true);
}

function hasMember(bytes: Uint8Array, nameEnd: string, begins: (first: number) => boolean): boolean {
  for (let at = find(bytes, nameEnd); at !== -1; at = find(bytes, nameEnd, at + nameEnd.length)) {
    const value = valueAfter(bytes, at + nameEnd.length);
    if (value !== undefined && begins(bytes[value]!)) return true;
  }
  return false;
}

/**
 * Reads what a JSON text reports: `usage` of OpenAI's and Anthropic's APIs, Ollama's counts, the model.
 * Nothing but these is parsed, and nothing but the text's ends looked at, as the rest may be an embedding
 * of megabytes.
 *
 * @param nested whether they may stand in the object `response` or `message`, as in an event
 */
export function readReport({ head, tail }: TextEnds, nested: boolean): Report {
  const inner = nested && tail === undefined ? innerObject(head) : undefined;
  if (inner !== undefined) return { ...readReport({ head, tail }, false), ...readReport(inner, false) };
  if (!nested && tail === undefined && head.length <= PARSED_WHOLE) {
    const whole = parsedWhole(head);
    if (whole !== undefined) return reportOf(whole);
  }
  const found: Found = {};
  const text = (tail ?? head).subarray(-LOOKED_AT);
  for (const [name, longest] of MEMBERS) {
    const value = lastMember(text, name, nested, longest);
    if (value !== undefined) found[name] = value;
  }
  if (Object.keys(found).length < 2) readHead(head.subarray(0, LOOKED_AT), found, nested);
  return reportOf(found);
}

/** Its members that are looked for; `undefined` if the text is no object in JSON. */
function parsedWhole(json: Uint8Array): Found | undefined {
  let members: unknown;
  try {
    members = JSON.parse(decoder.decode(json));
  } catch {
    return undefined;
  }
  if (typeof members !== "object" || members === null || Array.isArray(members)) return undefined;
  // Each member is one of the object's own, `__proto__` too: none of these can be inherited.
  return members;
}

/** The object in which an event carries the whole answer, or its beginning. */
function innerObject(json: Uint8Array): TextEnds | undefined {
  let inner: TextEnds | undefined;
  scanObject(json, skipBlank(json, 0), (name, start, end) => {
    if ((name !== "response" && name !== "message") || json[start] !== OPEN_BRACE) return;
    inner = { head: json.subarray(start, end), tail: undefined };
  });
  return inner;
}

/** What is looked for, and how long its value can be. */
const MEMBERS = [
  ["usage", MAX_USAGE],
  ["model", MAX_MODEL],
  ["prompt_eval_count", 32],
  ["eval_count", 32],
] as const;
const LONGEST = new Map<string, number>(MEMBERS);
type Member = (typeof MEMBERS)[number][0];
/** The values of those that were found. */
type Found = Partial<Record<Member, unknown>>;

/** The last member of this name on the outermost level; its text ends with the whole text. */
function lastMember(json: Uint8Array, name: string, nested: boolean, longest: number): unknown {
  const quoted = `"${name}"`;
  const bytes = asBuffer(json);
  let at = bytes.length;
  for (let looks = 0; looks < MAX_LOOKS && at > 0; looks++) {
    at = bytes.lastIndexOf(quoted, at - 1, "latin1");
    if (at === -1) return undefined;
    const start = valueAfter(json, at + quoted.length);
    if (start === undefined) continue;
    const end = valueEnd(json, start);
    if (end === undefined || end - start > longest) continue;
    if (isDepth(json, end, 1) || (nested && isDepth(json, end, 2))) return parsed(json, start, end);
  }
  return undefined;
}

/** The first members of each name, where the text begins with them. */
function readHead(json: Uint8Array, found: Found, nested: boolean): void {
  scanObject(json, skipBlank(json, 0), (name, start, end) => {
    if (nested && (name === "response" || name === "message")) readHead(json.subarray(start), found, false);
    const longest = name === undefined ? undefined : LONGEST.get(name);
    if (name === undefined || longest === undefined || end === undefined || end - start > longest) return;
    if (!Object.hasOwn(found, name)) found[name as Member] = parsed(json, start, end);
  });
}

function reportOf({ usage, model, prompt_eval_count, eval_count }: Found): Report {
  const report: Report = {};
  if (typeof model === "string" && model !== "") report.model = model;
  const prompt = count(prompt_eval_count);
  const completion = count(eval_count);
  if (prompt !== undefined) report.prompt = prompt;
  // Ollama leaves a count of none out.
  if (prompt !== undefined || completion !== undefined) report.completion = completion ?? 0;
  if (typeof usage === "object" && usage !== null) addUsage(report, usage as Record<string, unknown>);
  return report;
}

/**
 * OpenAI's names and Anthropic's. Anthropic counts what was cached beside `input_tokens`, OpenAI in it.
 */
function addUsage(report: Report, usage: Record<string, unknown>): void {
  const cacheRead = count(usage["cache_read_input_tokens"]);
  const cacheWritten = count(usage["cache_creation_input_tokens"]) ?? 0;
  const input = count(usage["prompt_tokens"]) ?? count(usage["input_tokens"]);
  const total = count(usage["total_tokens"]);
  const prompt = input === undefined ? undefined : input + (cacheRead ?? 0) + cacheWritten;
  // An embedding has no completion, and says so only by its total.
  const rest = total === undefined || prompt === undefined ? undefined : Math.max(0, total - prompt);
  const completion = count(usage["completion_tokens"]) ?? count(usage["output_tokens"]) ?? rest;
  const cached = cacheRead ?? cachedIn(usage["prompt_tokens_details"] ?? usage["input_tokens_details"]);
  if (prompt !== undefined) report.prompt = prompt;
  if (completion !== undefined) report.completion = completion;
  if (cached !== undefined) report.cached = cached;
}

function cachedIn(details: unknown): number | undefined {
  if (typeof details !== "object" || details === null) return undefined;
  return count((details as Record<string, unknown>)["cached_tokens"]);
}

/** Index of the value behind a member's name that ends at `at`; `undefined` if it is no member. */
function valueAfter(json: Uint8Array, at: number): number | undefined {
  const colon = skipBlank(json, at);
  if (json[colon] !== COLON) return undefined;
  const value = skipBlank(json, colon + 1);
  return value < json.length ? value : undefined;
}

function parsed(json: Uint8Array, start: number, end: number): unknown {
  try {
    return JSON.parse(decoder.decode(json.subarray(start, end))) as unknown;
  } catch {
    return undefined;
  }
}

/**
 * More than this is no count of tokens but a mistake, which would spoil every sum and lock a key out of its
 * limits for years; the longest prompts have some ten million (2026-11).
 */
const MAX_COUNT = 1e8;

function count(value: unknown): number | undefined {
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= MAX_COUNT
    ? value
    : undefined;
}

function asBuffer(bytes: Uint8Array): Buffer {
  return bytes instanceof Buffer ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
}
