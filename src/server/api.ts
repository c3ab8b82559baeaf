import { isUtf8 } from "node:buffer";
import type { Clock } from "../base/clock.ts";
import type { Dialect } from "../protocol/dialect.ts";
import { NEEDS } from "../protocol/link.ts";
import { requestHeadersForLink } from "../protocol/headers.ts";
import type { HeaderFields } from "../protocol/messages.ts";
import { fitsOneMessage } from "../protocol/v1.ts";
import { anotherModel, bodyFields, namesAnother, type BodyFields } from "./body-fields.ts";
import { readBody } from "./body.ts";
import { relayError, type ClientError } from "./client-error.ts";
import type { Client } from "./client.ts";
import type { Connection } from "./connection.ts";
import { errorResponse } from "./error-response.ts";
import { Exchange } from "./exchange.ts";
import type { Allowance } from "./limits/allowance.ts";
import { modelRefusal } from "./model-access.ts";
import type { Relay } from "./relay.ts";
import type { RequestRecord } from "./request-record.ts";
import type { RequestTarget } from "./request-target.ts";
import { passTraceOn } from "./trace/request-trace.ts";
import { AnswerUsage } from "./usage/answer-usage.ts";
import { askForUsage, mustBeAsked, type AskingBody } from "./usage/ask-usage.ts";

/** Ollama's calls that stream unless told not to. */
const STREAMS_BY_DEFAULT = new Set(["/api/chat", "/api/generate"]);

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;

const TEXT_TYPE = /^(text\/|application\/([\w.-]+\+)?(json|xml|x-ndjson)\b)/i;

/**
 * Makes an id that a client can quote and that no one can guess; a UUID of version 7 (RFC 9562 §5.7), whose
 * last 62 bits are random. It begins with the time, so that rows of the database come one behind the other:
 * storing them takes a fifth of the time that ids in no order take.
 */
export function newRequestId(): string {
  return Bun.randomUUIDv7();
}

export interface ApiRequest {
  request: Request;
  target: RequestTarget;
  dialect: Dialect;
  record: RequestRecord;
  client: Client;
  connection: Connection;
}

/**
 * Relays one request: reads it, finds its model, and waits for the head of the answer.
 *
 * @param allowance what the limits let it take; absent where none concerns it
 */
export async function relayRequest(
  relay: Relay,
  clock: Clock,
  api: ApiRequest,
  isOurs: (secret: string) => boolean,
  allowance?: Allowance,
): Promise<Response> {
  const { request, target, dialect, connection, record, client } = api;
  const { id, clientId } = record;
  const answered = () => connection.limitSilence();
  const refuse = (error: ClientError) => {
    answered();
    return refused(record, error, dialect);
  };
  // Prefill takes minutes: an answer may be silent for as long as it takes.
  connection.allowSilence();
  const read = await readBody(request, relay.config.maxBody, relay.budget, clock);
  if (!read.ok) return refuse(read.error);
  const body = read.bytes;
  record.bytesIn = body.length;
  const release = (error: ClientError) => {
    relay.budget.give(body.length);
    return refuse(error);
  };

  const { headers, method, signal } = request;
  const contentType = headers.get("content-type") ?? "";
  const coding = headers.get("content-encoding");
  if (coding !== null && coding.toLowerCase() !== "identity") {
    return release(
      relayError(415, "invalid_request", `The request's body is encoded as "${coding}": send it as it is`),
    );
  }
  const found = fieldsOf(method, body, contentType, target);
  // Only a form takes time; a turn of waiting costs each request more than all of this.
  const fields = found instanceof Promise ? await found : found;
  if ("status" in fields) return release(fields);
  record.model = fields.model;
  record.streaming = fields.streaming;
  const forbidden = modelRefusal(client, fields.model);
  if (forbidden !== undefined) return release(forbidden);
  const over = allowance?.expect(record, contentType, body, fields.longestAnswer);
  if (over !== undefined) return release(over);
  if (signal.aborted) {
    relay.budget.give(body.length);
    record.settle("cancelled", "client_disconnect");
    record.end();
    return new Response(null, { status: 499 });
  }

  // Some backends, llama-cpp-python among them, answer 400 to an id that is no UUID.
  const backendId = clientId !== id && UUID.test(clientId) ? clientId : id;
  const fieldsForBackend = clientHeaders(headers, backendId, isOurs);
  if (record.trace !== undefined) passTraceOn(record.trace, fieldsForBackend);
  const asking = fields.streaming && mustBeAsked(method, target.path) ? askWithin(relay, body) : undefined;
  const sent = asking?.body ?? body;
  record.bodies?.asked(body);
  const exchange = new Exchange(
    {
      id,
      model: fields.model,
      method,
      path: target.path + target.query,
      streaming: fields.streaming,
      headers: fieldsForBackend,
      body: sent,
    },
    dialect,
    record,
    relay.exchangeContext,
    answered,
    new AnswerUsage(asking),
  );
  signal.addEventListener("abort", () => exchange.leave(), { once: true });
  relay.submit(exchange, fields.model === "" ? undefined : fields.model, needsOf(method, sent));
  return exchange.response;
}

/** A body that asks for usage, if there is room for the few bytes more. */
function askWithin(relay: Relay, body: Uint8Array<ArrayBuffer>): AskingBody | undefined {
  const asking = askForUsage(body);
  return asking !== undefined && relay.budget.take(asking.body.length - body.length) ? asking : undefined;
}

/** The answer to a request that goes no further. */
export function refused(record: RequestRecord, error: ClientError, dialect: Dialect): Response {
  record.status = error.status;
  record.settle("refused", error.code);
  record.end();
  return errorResponse(error, dialect, record.clientId, record.stampAnswer);
}

/** A request without a body names its model in the query, or none at all. */
function fieldsOf(
  method: string,
  body: Uint8Array<ArrayBuffer>,
  contentType: string,
  target: RequestTarget,
): BodyFields | ClientError | Promise<BodyFields | ClientError> {
  const inQuery = target.query === "" ? "" : (new URLSearchParams(target.query).get("model") ?? "");
  if (body.length === 0 && (method !== "POST" || inQuery !== "")) return { model: inQuery, streaming: false };
  if (
    inQuery !== "" &&
    contentType !== "" &&
    !TEXT_TYPE.test(contentType) &&
    !contentType.startsWith("multipart/")
  ) {
    // Some backends read JSON whatever its type is said to be.
    return namesAnother(body, inQuery) ? anotherModel() : { model: inQuery, streaming: false };
  }
  return bodyFields(body, contentType, STREAMS_BY_DEFAULT.has(target.path));
}

function needsOf(method: string, body: Uint8Array<ArrayBuffer>): number {
  const text = isUtf8(body);
  const large = !fitsOneMessage(body);
  return (method === "POST" ? 0 : NEEDS.method) | (text ? 0 : NEEDS.bytes) | (large ? NEEDS.large : 0);
}

/** The client's header fields without what it proved itself to the relay with. */
function clientHeaders(
  headers: Headers,
  requestId: string,
  isOurs: (secret: string) => boolean,
): HeaderFields {
  const fields = requestHeadersForLink(headers);
  for (const name of ["x-api-key", "api-key"]) {
    const key = fields[name];
    if (key !== undefined && key.split(",").some((one) => isOurs(one.trim()))) delete fields[name];
  }
  fields["x-request-id"] = requestId;
  return fields;
}
