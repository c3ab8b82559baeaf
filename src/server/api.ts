import { isUtf8 } from "node:buffer";
import type { Dialect } from "../protocol/dialect.ts";
import { NEEDS } from "../protocol/link.ts";
import { requestHeadersForLink } from "../protocol/headers.ts";
import type { HeaderFields } from "../protocol/messages.ts";
import { fitsOneMessage } from "../protocol/v1.ts";
import { anotherModel, bodyFields, namesAnother, type BodyFields } from "./body-fields.ts";
import type { BodyReader } from "./body.ts";
import { relayError, type ClientError } from "./client-error.ts";
import type { Client } from "./client.ts";
import type { Connection } from "./connection.ts";
import { errorResponse } from "./error-response.ts";
import type { AnswerEvents } from "./exchange-state.ts";
import { Exchange } from "./exchange.ts";
import { modelRefusal } from "./model-access.ts";
import type { Relay } from "./relay.ts";
import type { RequestRecord } from "./request-record.ts";
import type { RequestTarget } from "./request-target.ts";
import { passTraceOn } from "./trace/request-trace.ts";
import { AnswerUsage } from "./usage/answer-usage.ts";
import { askForUsage, mustBeAsked, type AskingBody } from "./usage/ask-usage.ts";

/** Ollama's calls that stream unless told not to. */
const STREAMS_BY_DEFAULT = new Set(["/api/chat", "/api/generate"]);

type Bytes = Uint8Array<ArrayBuffer>;

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
  /** Its fields, by lower-case name. */
  headers: HeaderFields;
  target: RequestTarget;
  dialect: Dialect;
  record: RequestRecord;
  client: Client;
  connection: Connection;
}

/** What requests need of the relay around them. */
export interface Surroundings {
  relay: Relay;
  bodies: BodyReader;
  isOurs: (secret: string) => boolean;
  /** The answer to a request that the relay could not handle. */
  failed: (api: ApiRequest, error: unknown) => Response;
}

/** Relays one request: reads it, finds its model, and waits for the head of the answer. Never rejects. */
export function relayRequest(surroundings: Surroundings, api: ApiRequest): Promise<Response> {
  return new Promise((resolve) => new RelayedRequest(surroundings, api, resolve).read());
}

/**
 * One request on its way to the queue. Its steps call each other: a promise for each of them costs more
 * than most of them do.
 */
class RelayedRequest implements AnswerEvents {
  /** Gives the client its answer. */
  readonly answer: (response: Response) => void;
  readonly #surroundings: Surroundings;
  readonly #api: ApiRequest;

  constructor(surroundings: Surroundings, api: ApiRequest, answer: (response: Response) => void) {
    this.#surroundings = surroundings;
    this.#api = api;
    this.answer = answer;
  }

  read(): void {
    const { relay, bodies } = this.#surroundings;
    const { request, headers, connection } = this.#api;
    this.#guarded(() => {
      // Prefill takes minutes: an answer may be silent for as long as it takes.
      connection.allowSilence();
      bodies.read(request, headers["content-length"], relay.config.maxBody, (read) =>
        this.#guarded(() => {
          if (read.ok) this.#look(read.bytes);
          else this.#refuse(read.error);
        }),
      );
    });
  }

  /** Finds what the relay has to know of the body. */
  #look(body: Bytes): void {
    const { request, headers, target, record } = this.#api;
    record.bytesIn = body.length;
    const coding = headers["content-encoding"];
    if (coding !== undefined && coding.toLowerCase() !== "identity") {
      const message = `The request's body is encoded as "${coding}": send it as it is`;
      return this.#release(body, relayError(415, "invalid_request", message));
    }
    const found = fieldsOf(request.method, body, headers["content-type"] ?? "", target);
    // Only a form takes time.
    if (found instanceof Promise) {
      const failed = (error: unknown) => this.#fail(error);
      void found.then((fields) => this.#guarded(() => this.#submit(body, fields)), failed);
    } else this.#submit(body, found);
  }

  #submit(body: Bytes, fields: BodyFields | ClientError): void {
    if ("status" in fields) return this.#release(body, fields);
    const { relay, isOurs } = this.#surroundings;
    const { request, headers, target, dialect, record, client } = this.#api;
    const { id, clientId } = record;
    record.model = fields.model;
    record.streaming = fields.streaming;
    const refusal =
      modelRefusal(client, fields.model) ??
      record.allowance?.expect(record, headers["content-type"] ?? "", body, fields.longestAnswer);
    if (refusal !== undefined) return this.#release(body, refusal);
    const { method, signal } = request;
    if (signal.aborted) {
      relay.budget.give(body.length);
      record.settle("cancelled", "client_disconnect");
      record.end();
      return this.answer(new Response(null, { status: 499 }));
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
      this,
      new AnswerUsage(asking),
    );
    // Nobody else sees this signal, and a listener costs eight times as much.
    // eslint-disable-next-line unicorn/prefer-add-event-listener
    signal.onabort = () => exchange.leave();
    relay.submit(exchange, fields.model === "" ? undefined : fields.model, needsOf(method, sent));
  }

  whole(): void {
    this.#api.connection.limitSilence();
  }

  /** Gives back what the body took from the budget. */
  #release(body: Bytes, error: ClientError): void {
    this.#surroundings.relay.budget.give(body.length);
    this.#refuse(error);
  }

  #refuse(error: ClientError): void {
    const { record, dialect } = this.#api;
    this.whole();
    this.answer(refused(record, error, dialect));
  }

  #fail(error: unknown): void {
    this.whole();
    this.answer(this.#surroundings.failed(this.#api, error));
  }

  /** Nobody catches what is thrown here, and the client would wait for ever. */
  #guarded(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#fail(error);
    }
  }
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
  return errorResponse(error, dialect, record.clientId, record.allowance);
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
  headers: HeaderFields,
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
