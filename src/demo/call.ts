import type { z } from "zod";
import type { Clock } from "../base/clock.ts";
import type { Frame } from "./paced-stream.ts";
import { Refusal } from "./refusal.ts";

/** One request to generate something, as an endpoint sees it. */
export interface Call {
  /** The request's JSON, an object whose `model` is known. */
  body: Record<string, unknown>;
  /** The model as the client named it. */
  model: string;
  /** 24 hex digits made from the request, so that equal requests get equal identifiers. */
  id: string;
  clock: Clock;
  /** Streams frames to the client; the content type is up to the dialect. */
  stream(contentType: string, frames: Generator<Frame>): Response;
}

export const EVENT_STREAM = "text/event-stream; charset=utf-8";

/** Seconds since the Unix epoch, as the OpenAI APIs date their objects. */
export function createdAt(call: Call): number {
  return Math.floor(call.clock.wall() / 1_000);
}

/** The request's text as a JSON object. @throws {Refusal} 400 */
export function parseJsonObject(text: string): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new Refusal(400, "Cannot read the request: the body is not valid JSON", { code: "invalid_json" });
  }
  if (typeof value === "object" && value !== null && !Array.isArray(value))
    return value as Record<string, unknown>;
  throw new Refusal(400, "Cannot read the request: the body is not a JSON object", { code: "invalid_json" });
}

/** A required field that is not there. */
export function missingField(param: string): Refusal {
  return new Refusal(400, `Cannot read the request: "${param}" is missing`, {
    param,
    code: "missing_required_parameter",
  });
}

function valueAt(value: unknown, path: readonly PropertyKey[]): unknown {
  return path.reduce<unknown>(
    (found, key) =>
      typeof found === "object" && found !== null ? (found as Record<PropertyKey, unknown>)[key] : undefined,
    value,
  );
}

/** The body as the endpoint's schema reads it. @throws {Refusal} 400, naming the first field at fault */
export function readBody<Schema extends z.ZodType>(call: Call, schema: Schema): z.infer<Schema> {
  const result = schema.safeParse(call.body);
  if (result.success) return result.data;
  const issue = result.error.issues[0];
  const param = issue?.path.map(String).join(".") ?? "";
  if (issue !== undefined && valueAt(call.body, issue.path) === undefined) throw missingField(param);
  throw new Refusal(400, `Cannot read the request: "${param}": ${issue?.message ?? "not valid"}`, {
    param,
    code: "invalid_value",
  });
}
