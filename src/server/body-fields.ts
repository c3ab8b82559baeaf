import { relayError, type ClientError } from "./client-error.ts";

/** What the relay has to know of a body to route it. */
export interface BodyFields {
  model: string;
  streaming: boolean;
}

const decoder = new TextDecoder();

/**
 * Finds the model, and whether a stream is asked for: in a JSON body its members, in a form its fields.
 *
 * @param streamsByDefault for APIs that stream unless told not to (Ollama's chat and generate)
 */
export async function bodyFields(
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
  streamsByDefault: boolean,
): Promise<BodyFields | ClientError> {
  // Whatever else the type says is tried as JSON: `curl -d '{…}'` calls its body a urlencoded form.
  return /^multipart\/form-data\b/i.test(contentType)
    ? formFields(body, contentType)
    : jsonFields(body, streamsByDefault);
}

function jsonFields(body: Uint8Array<ArrayBuffer>, streamsByDefault: boolean): BodyFields | ClientError {
  let parsed: unknown;
  try {
    parsed = JSON.parse(decoder.decode(body));
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
  return { model, streaming: typeof stream === "boolean" ? stream : streamsByDefault };
}

async function formFields(
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
): Promise<BodyFields | ClientError> {
  let form: { get(name: string): unknown };
  try {
    form = await new Response(body, { headers: { "content-type": contentType } }).formData();
  } catch {
    return invalid("The request's body is not a valid form");
  }
  const model = form.get("model");
  if (typeof model !== "string" || model.trim() === "") return noModel();
  return { model, streaming: form.get("stream") === "true" };
}

function noModel(): ClientError {
  return invalid('The request names no model: "model" must be a string that is not empty');
}

function invalid(message: string): ClientError {
  return relayError(400, "invalid_request", message);
}
