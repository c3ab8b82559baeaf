import { namedModels, scanBody } from "../protocol/named-models.ts";
import { relayError, type ClientError } from "./client-error.ts";
import { longestAnswer } from "./limits/estimate.ts";

/** What the relay has to know of a body to route it, and to hold it to a limit. */
export interface BodyFields {
  model: string;
  streaming: boolean;
  /** Tokens that the answer may have; `null` if the body names no number, absent if it was not parsed. */
  longestAnswer?: number | null;
}

/**
 * A larger body is not parsed to find its model: a megabyte of images takes 3 ms to parse, and 0.1 ms to
 * look through (2026-11). What is wrong inside it is then the backend's to say.
 */
const SCANNED_ABOVE = 32 * 1024;

const decoder = new TextDecoder();

/**
 * Finds the model, and whether a stream is asked for: in a JSON body its members, in a form its fields.
 *
 * @param streamsByDefault for APIs that stream unless told not to (Ollama's chat and generate)
 */
export function bodyFields(
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
  streamsByDefault: boolean,
): BodyFields | ClientError | Promise<BodyFields | ClientError> {
  // Whatever else the type says is tried as JSON: `curl -d '{…}'` calls its body a urlencoded form.
  return /^multipart\/form-data\b/i.test(contentType)
    ? formFields(body, contentType)
    : jsonFields(body, streamsByDefault);
}

function jsonFields(body: Uint8Array<ArrayBuffer>, streamsByDefault: boolean): BodyFields | ClientError {
  if (body.length > SCANNED_ABOVE) {
    const { models, stream, whole } = scanBody(body);
    const [model] = models;
    if (whole && models.length === 1 && model !== undefined && model.trim() !== "")
      return { model, streaming: stream ?? streamsByDefault };
    // Whatever is odd about it, the whole look finds the words for it.
  }
  let parsed: unknown;
  const text = decoder.decode(body);
  try {
    parsed = JSON.parse(text);
  } catch {
    return invalid(
      body.length === 0
        ? "The request's body is empty: expected a JSON object"
        : "The request's body is not valid JSON",
    );
  }
  if (typeof parsed !== "object" || parsed === null || Array.isArray(parsed)) {
    return invalid("The request's body is not a JSON object");
  }
  const { model, stream } = parsed as { model?: unknown; stream?: unknown };
  if (typeof model !== "string" || model.trim() === "") return noModel();
  if (mayNameAnother(parsed, text) && namesAnother(body, model)) return anotherModel();
  const streaming = typeof stream === "boolean" ? stream : streamsByDefault;
  return { model, streaming, longestAnswer: longestAnswer(parsed) };
}

/** A quick look that is wrong only to the safe side: nearly no body has to be scanned. */
function mayNameAnother(parsed: object, text: string): boolean {
  return (
    text.indexOf('"model"') !== text.lastIndexOf('"model"') ||
    // The name may be escaped, as in "mod\u0065l".
    text.includes("\\u00") ||
    hasOtherSpelling(parsed)
  );
}

function hasOtherSpelling(parsed: object): boolean {
  for (const name in parsed)
    if (name.length === "model".length && name !== "model" && name.toLowerCase() === "model") return true;
  return false;
}

/** Whether some reader would find a model other than `model` in a JSON body. */
export function namesAnother(body: Uint8Array, model: string): boolean {
  return namedModels(body).some((named) => named !== model);
}

/** The answer to a request that could be let in for one model and run another. */
export function anotherModel(): ClientError {
  return invalid("The request names more than one model");
}

async function formFields(
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<BodyFields | ClientError> {
  let form: { get(name: string): unknown; getAll(name: string): unknown[] };
  try {
    form = await new Response(body, { headers: { "content-type": contentType } }).formData();
  } catch {
    return invalid("The request's body is not a valid form");
  }
  const model = form.get("model");
  if (typeof model !== "string" || model.trim() === "") return noModel();
  if (form.getAll("model").some((named) => named !== model)) return anotherModel();
  return { model, streaming: form.get("stream") === "true" };
}

function noModel(): ClientError {
  return invalid('The request names no model: "model" must be a string that is not empty');
}

function invalid(message: string): ClientError {
  return relayError(400, "invalid_request", message);
}
