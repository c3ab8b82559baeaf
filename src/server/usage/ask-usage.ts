import { CLOSE_BRACE } from "../../protocol/json-bytes.ts";
import { scanObject, skipBlank } from "./json-spans.ts";

/** A body that asks for usage, and how it was before. */
export interface AskingBody {
  body: Uint8Array<ArrayBuffer>;
  /** The body as the client sent it; made again from the other, as both together may be large. */
  original(): Uint8Array<ArrayBuffer>;
}

const NAME = "stream_options";
const MEMBER = "include_usage";

/** Whether streams of this API report their usage only if they are asked to. */
export function mustBeAsked(method: string, path: string): boolean {
  return method === "POST" && (path === "/v1/chat/completions" || path === "/v1/completions");
}

/**
 * Adds `"stream_options":{"include_usage":true}` to a JSON object. Every other byte stays as it is.
 *
 * @returns `undefined` if the client asks for it already, or if it is not certain what every reader of
 *   the body would take from it: what stands there twice, or in another case, is left alone
 */
export function askForUsage(body: Uint8Array<ArrayBuffer>): AskingBody | undefined {
  const start = skipBlank(body, skipMark(body));
  const options = onlyMember(body, start, NAME);
  if (options === undefined) return undefined;
  if (options === "absent") return inserted(body, start, `"${NAME}":{"${MEMBER}":true}`);
  const [from, to] = options;
  if (isNull(body, from, to)) return edited(body, from, to, `{"${MEMBER}":true}`);
  const include = onlyMember(body, from, MEMBER);
  if (include === undefined) return undefined;
  if (include === "absent") return inserted(body, from, `"${MEMBER}":true`);
  const [valueFrom, valueTo] = include;
  const asksNot = isNull(body, valueFrom, valueTo) || text(body, valueFrom, valueTo) === "false";
  return asksNot ? edited(body, valueFrom, valueTo, "true") : undefined;
}

/** Where the value of a member stands; `undefined` if the object is not whole, or the name is not unique. */
function onlyMember(
  json: Uint8Array,
  start: number,
  wanted: string,
): readonly [from: number, to: number] | "absent" | undefined {
  let found: [number, number] | undefined;
  let odd = false;
  const end = scanObject(json, start, (name, from, to) => {
    if (name?.toLowerCase() !== wanted || to === undefined) return;
    odd ||= found !== undefined || name !== wanted;
    found = [from, to];
  });
  if (end === undefined || odd) return undefined;
  return found ?? "absent";
}

/** Puts a member at the beginning of the object at `start`. */
function inserted(body: Uint8Array<ArrayBuffer>, start: number, member: string): AskingBody {
  const empty = body[skipBlank(body, start + 1)] === CLOSE_BRACE;
  return edited(body, start + 1, start + 1, empty ? member : `${member},`);
}

function edited(body: Uint8Array<ArrayBuffer>, from: number, to: number, by: string): AskingBody {
  const before = body.slice(from, to);
  const now = Buffer.from(by);
  const changed = Buffer.concat([body.subarray(0, from), now, body.subarray(to)]);
  return {
    body: changed,
    original: () => Buffer.concat([changed.subarray(0, from), before, changed.subarray(from + now.length)]),
  };
}

function isNull(json: Uint8Array, from: number, to: number): boolean {
  return text(json, from, to) === "null";
}

/** A short value as text; longer ones are nothing that is compared. */
function text(json: Uint8Array, from: number, to: number): string {
  return to - from > 8 ? "" : String.fromCharCode(...json.subarray(from, to));
}

/** Behind the byte order mark that some clients write. */
function skipMark(body: Uint8Array): number {
  return body[0] === 0xef && body[1] === 0xbb && body[2] === 0xbf ? 3 : 0;
}
