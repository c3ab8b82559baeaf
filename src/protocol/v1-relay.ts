import { CLOSE, V1_MAX_CHUNK, V1_MAX_PART } from "./limits.ts";
import { NEEDS, type Carrier, type LinkFailure, type RelayCodec, type RelayEvents } from "./link.ts";
import {
  FEATURES,
  ProtocolError,
  type Acceptance,
  type CancelReason,
  type Feature,
  type HeaderFields,
  type LinkRequest,
  type Registration,
} from "./messages.ts";
import { tokenCounts } from "./token-counts.ts";
import {
  assumedStreamType,
  countField,
  featureList,
  headerFields,
  optionalCount,
  optionalText,
  parseMessage,
  speaksV1,
  textField,
  textList,
  V1_VERSION,
  type Fields,
} from "./v1.ts";

/** A request that this worker holds. */
interface Held {
  path: string;
  /** The status told to the client with the first chunk, once there was one. */
  status: number | undefined;
  /** What may be an error's body and is held back until its status comes. */
  json: string;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/** The relay's end of a v1 link. */
export function createV1RelayCodec(carrier: Carrier, events: RelayEvents): RelayCodec {
  const held = new Map<string, Held>();
  let registered = false;
  let features: Feature[] = [];

  function send(message: Record<string, unknown>): void {
    carrier.send(JSON.stringify(message));
  }

  function register(fields: Fields): void {
    if (registered) throw new ProtocolError("Cannot register twice on one link", CLOSE.protocol);
    const protocolVersion = optionalText(fields, "protocol_version");
    if (!speaksV1(protocolVersion)) {
      const theirs = (protocolVersion ?? "").slice(0, 40);
      throw new ProtocolError(`Cannot speak "${theirs}": this relay speaks ${V1_VERSION}`, CLOSE.version);
    }
    const registration: Registration = {
      name: textField(fields, "worker_name"),
      models: textList(fields, "models"),
      maxConcurrent: countField(fields, "max_concurrent"),
      load: optionalCount(fields, "current_load") ?? 0,
      protocolVersion,
      features: featureList(fields),
    };
    registered = true;
    features = registration.features;
    events.registered(registration);
  }

  function chunk(fields: Fields): void {
    const id = textField(fields, "request_id");
    const text = textField(fields, "chunk");
    const request = held.get(id);
    // Late chunks of a cancelled request, or somebody else's: no harm, and nothing to do.
    if (request === undefined) return;
    if (request.status === undefined) {
      const status = optionalCount(fields, "status_code");
      if (status === undefined && holdsBack(request, text)) return;
      const headers: HeaderFields =
        status === undefined ? { "content-type": assumedStreamType(request.path) } : plainHeaders(fields);
      request.status = status ?? 200;
      if (!isFinalStatus(request.status)) {
        held.delete(id);
        send({ type: "cancel", request_id: id, reason: { other: "invalid_status" } });
        return events.broken(id, statusFailure(request.status));
      }
      events.head(id, { status: request.status, headers });
    }
    const whole = request.json + text;
    request.json = "";
    if (whole !== "") events.body(id, encoder.encode(whole));
  }

  /**
   * Workers in the field send the body of an error to a streaming request as chunks, and its status only
   * at the end. What begins as a JSON object where events were asked for is therefore held until then.
   */
  function holdsBack(request: Held, text: string): boolean {
    if (features.includes("head") || assumedStreamType(request.path) !== "text/event-stream") return false;
    if (request.json === "" && !/^\s*\{/.test(text)) return false;
    if (request.json.length + text.length > V1_MAX_CHUNK) return false;
    request.json += text;
    return true;
  }

  function complete(fields: Fields): void {
    const id = textField(fields, "request_id");
    const status = countField(fields, "status_code");
    const headers = plainHeaders(fields);
    const rest = optionalText(fields, "body") ?? "";
    const tokens = tokenCounts(fields);
    const request = held.get(id);
    if (request === undefined) return;
    held.delete(id);
    const failure = isFinalStatus(status) ? failureIn(status, headers, rest) : statusFailure(status);
    if (failure !== undefined) return events.broken(id, failure);
    if (request.status === undefined) {
      events.head(id, { status, headers });
      const whole = request.json + rest;
      if (whole !== "") events.body(id, encoder.encode(whole));
    } else if (status >= 300 && status !== request.status) {
      // The head was sent long ago: a status that is no success can only mean that the stream broke.
      const message = `The stream ended with status ${status}`;
      return events.broken(id, { status, code: "backend_unreachable", message, origin: "backend" });
    }
    events.end(id, tokens);
  }

  function failed(fields: Fields): void {
    const id = optionalText(fields, "request_id");
    const code = textField(fields, "code").slice(0, 64);
    const message = textField(fields, "message").slice(0, 1_000);
    if (id === undefined) return events.complaint(code, message);
    if (held.delete(id))
      events.broken(id, { status: 502, code: "backend_unreachable", message, origin: "worker" });
  }

  /** A character cut in two by the end of a part goes out whole with the next. */
  function sendParts(message: Record<string, unknown>, { id, body }: LinkRequest): void {
    const parts = new TextDecoder("utf-8", { ignoreBOM: true });
    for (let at = 0; at < body.length; at += V1_MAX_PART) {
      const more = at + V1_MAX_PART < body.length;
      const text = parts.decode(body.subarray(at, at + V1_MAX_PART), { stream: more });
      send({ ...(at === 0 ? message : { type: "request_body", request_id: id }), body: text, more });
    }
  }

  return {
    receive(message) {
      const { type, fields } = parseMessage(message);
      if (!registered && type !== "register") {
        throw new ProtocolError(
          `Cannot take "${type.slice(0, 32)}": the first message must be "register"`,
          CLOSE.protocol,
        );
      }
      switch (type) {
        case "register":
          return register(fields);
        case "response_chunk":
          return chunk(fields);
        case "response_complete":
          return complete(fields);
        case "error":
          return failed(fields);
        case "pong":
          return events.pong(countField(fields, "current_load"));
        case "models_update":
          return events.models(textList(fields, "models"), countField(fields, "current_load"));
        default:
          return; // A later minor version may say more; it may not rely on being understood.
      }
    },
    accept(acceptance: Acceptance) {
      send({
        type: "register_ack",
        worker_id: acceptance.workerId,
        models: acceptance.models,
        ...(acceptance.warnings.length > 0 && { warnings: acceptance.warnings }),
        protocol_version: V1_VERSION,
        ...(features.length > 0 && { features: FEATURES.filter((feature) => features.includes(feature)) }),
      });
    },
    carries: () =>
      (features.includes("method") ? NEEDS.method : 0) | (features.includes("parts") ? NEEDS.large : 0),
    request(request: LinkRequest) {
      held.set(request.id, { path: request.path, status: undefined, json: "" });
      // Workers in the field hand this on and then read the compressed body as text.
      const { "accept-encoding": _, ...headers } = request.headers;
      const message = {
        type: "request",
        request_id: request.id,
        model: request.model,
        endpoint_path: request.path,
        is_streaming: request.streaming,
        headers,
        ...(request.method !== "POST" && { method: request.method }),
      };
      if (features.includes("parts") && request.body.length > V1_MAX_PART) sendParts(message, request);
      else send({ ...message, body: decoder.decode(request.body) });
    },
    cancel(id: string, reason: CancelReason) {
      // Workers in the field never complete a cancelled request, so nothing waits for it.
      if (held.delete(id)) send({ type: "cancel", request_id: id, reason });
    },
    // v1 has no flow control.
    consumed() {},
    ping: (wallMs) => send({ type: "ping", timestamp_unix_ms: wallMs }),
    drain: (reason, timeoutMs) =>
      send({ type: "graceful_shutdown", reason, drain_timeout_secs: Math.ceil(timeoutMs / 1_000) }),
    refreshModels: (reason) => send({ type: "models_refresh", reason }),
  };
}

/** A v1 body is text, whatever its backend sent: a content coding that is still named is gone. */
function plainHeaders(fields: Fields): HeaderFields {
  const headers = headerFields(fields, "headers");
  for (const name in headers) if (name.toLowerCase() === "content-encoding") delete headers[name];
  return headers;
}

/** HTTP has no other status for a whole answer (RFC 9110 §15), though peers pass on what they were given. */
function isFinalStatus(status: number): boolean {
  return status >= 200 && status <= 599;
}

/** One odd answer costs its own request, and not all the others of its worker. */
function statusFailure(status: number): LinkFailure {
  const message = `The backend answered with status ${status}, which HTTP does not know`;
  return { status: 502, code: "backend_unreachable", message, origin: "backend" };
}

/** Our own workers mark a failure that is not the backend's answer, so that the relay can word it. */
function failureIn(status: number, headers: HeaderFields, body: string): LinkFailure | undefined {
  const origin = headers["x-modelrelay-error"];
  if (origin !== "worker" && origin !== "backend") return undefined;
  return {
    status: status < 400 ? 502 : status,
    code: (headers["x-modelrelay-code"] ?? "backend_unreachable").slice(0, 64),
    message: body.slice(0, 1_000),
    origin,
  };
}
