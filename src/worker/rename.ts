import type { LinkRequest } from "../protocol/messages.ts";
import type { ModelName } from "./config.ts";
import { concatBytes, findStrings, replaceStrings } from "./json-fields.ts";
import { formBoundary, replaceFormField } from "./multipart.ts";

/**
 * Serves a model under another name: the backend's name goes in, the public name comes out. Only the
 * bytes of the name change.
 */

/** The body for the backend, with its model called `name.backend`. */
export function renameRequestBody(request: LinkRequest, name: ModelName): Uint8Array {
  if (name.public === name.backend || request.body.byteLength === 0) return request.body;
  const boundary = formBoundary(request.headers["content-type"]);
  const body = request.body as Uint8Array<ArrayBuffer>;
  if (boundary !== undefined) return replaceFormField(body, boundary, "model", name.public, name.backend);
  // Ollama's older clients name the model "name".
  const paths = request.path.startsWith("/api/") ? [["model"], ["name"]] : [["model"]];
  const ranges = findStrings(body, paths).filter(({ value }) => value === name.public);
  return replaceStrings(body, ranges, name.backend);
}

/** Where answers name their model: chat, completions and most others; messages; responses. */
const ANSWER_PATHS = [["model"], ["message", "model"], ["response", "model"]];

/** Changes a body part by part. What it returns may be empty, while it waits for the rest of a line. */
export interface BodyTransform {
  part(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>;
  end(): Uint8Array<ArrayBuffer>;
}

/** A longer line or document passes as it is, rather than being held without bound. */
const LONGEST_HELD = 64 * 1024 * 1024;

const LINE_TYPES = /^(text\/event-stream|application\/(x-ndjson|jsonl|x-json-stream))\b/i;
const JSON_TYPES = /^application\/(json|[\w.+-]+\+json)\b/i;

/** The transform that an answer of this content type needs, or `undefined` if it passes untouched. */
export function renameAnswer(contentType: string | undefined, name: ModelName): BodyTransform | undefined {
  if (name.public === name.backend || contentType === undefined) return undefined;
  if (LINE_TYPES.test(contentType)) return renameLines(name.public);
  if (JSON_TYPES.test(contentType)) return renameDocument(name.public);
  return undefined;
}

function renameJson(json: Uint8Array<ArrayBuffer>, model: string): Uint8Array<ArrayBuffer> {
  return replaceStrings(json, findStrings(json, ANSWER_PATHS), model);
}

const EMPTY = new Uint8Array(0);

function renameDocument(model: string): BodyTransform {
  let held: Uint8Array[] | undefined = [];
  let heldBytes = 0;
  return {
    part(bytes) {
      if (held === undefined) return bytes;
      held.push(bytes);
      heldBytes += bytes.byteLength;
      if (heldBytes <= LONGEST_HELD) return EMPTY;
      const all = concatBytes(held);
      held = undefined;
      return all;
    },
    end: () => (held === undefined ? EMPTY : renameJson(concatBytes(held), model)),
  };
}

const DATA = new TextEncoder().encode("data:");

/** Lines of server-sent events (`data: {…}`) and of newline-delimited JSON (`{…}`). */
function renameLines(model: string): BodyTransform {
  let held: Uint8Array[] = [];
  let heldBytes = 0;

  function take(): Uint8Array<ArrayBuffer> {
    const line = concatBytes(held);
    held = [];
    heldBytes = 0;
    return line;
  }

  function rename(line: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    let from = 0;
    if (DATA.every((byte, index) => line[index] === byte)) {
      from = DATA.length;
      while (line[from] === 0x20) from++;
    }
    if (line[from] !== 0x7b) return line;
    return concatBytes([line.subarray(0, from), renameJson(line.slice(from), model)]);
  }

  return {
    part(bytes) {
      const out: Uint8Array[] = [];
      let from = 0;
      for (let at = 0; at < bytes.length; at++) {
        // A line ends at either; between the two of a CRLF stands an empty line, which changes nothing.
        if (bytes[at] !== 0x0a && bytes[at] !== 0x0d) continue;
        held.push(bytes.subarray(from, at + 1));
        out.push(rename(take()));
        from = at + 1;
      }
      if (from < bytes.length) {
        held.push(bytes.slice(from));
        heldBytes += bytes.length - from;
        if (heldBytes > LONGEST_HELD) out.push(take());
      }
      return concatBytes(out);
    },
    end: () => rename(take()),
  };
}
