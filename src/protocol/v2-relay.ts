import { Channel } from "./channel.ts";
import { FRAME, jsonFrame, MAX_REQUEST_NUMBER } from "./frames.ts";
import { CLOSE, V2_GRACE_MS, V2_MAX_BODY, V2_UNACKED_PAUSE, V2_WINDOW } from "./limits.ts";
import { NEEDS, type Carrier, type LinkFailure, type RelayCodec, type RelayEvents } from "./link.ts";
import {
  ProtocolError,
  type Acceptance,
  type CancelReason,
  type HeaderFields,
  type LinkRequest,
  type Registration,
  type ResponseHead,
} from "./messages.ts";
import {
  countField,
  featureList,
  headerFields,
  optionalCount,
  optionalText,
  textField,
  textList,
  type Fields,
} from "./v1.ts";
import {
  addCredit,
  creditOf,
  featureFields,
  jsonFields,
  namesDeflate,
  V2_VERSION,
  windowField,
  writeTime,
} from "./v2.ts";
import { tokenCounts } from "./token-counts.ts";

/** A request that the worker holds. */
interface Held {
  id: string;
  number: number;
  /** Of its body, what has not been sent, and how much of that may be sent. */
  rest: Uint8Array;
  credit: number;
  begun: boolean;
  /** Bytes of the response that may still come, and that the client has taken since the last credit. */
  granted: number;
  taken: number;
}

export interface V2RelayOptions {
  /** Unguessable. */
  sessionId: string;
  schedule(flush: () => void): void;
  overflowed(error: ProtocolError): void;
  /** Bytes of a response that may wait for its client. */
  window?: number;
  graceMs?: number;
}

/** The relay's end of a v2 link. */
export function createV2RelayCodec(first: Carrier, events: RelayEvents, options: V2RelayOptions): RelayCodec {
  const { window = V2_WINDOW, graceMs = V2_GRACE_MS, sessionId } = options;
  const channel = new Channel({ ...options, frame });
  channel.attach(first);
  const byNumber = new Map<number, Held>();
  const byId = new Map<string, Held>();
  /** With body left that the worker has room for, but the channel has not. */
  const paused = new Set<Held>();
  let registered = false;
  let lastNumber = 0;
  let theirWindow = V2_WINDOW;
  let packs = false;

  function frame(type: number, number: number, payload: Uint8Array<ArrayBuffer>): void {
    if (!registered && type !== FRAME.control)
      throw new ProtocolError("Cannot take a frame before the registration", CLOSE.protocol);
    switch (type) {
      case FRAME.body:
        return body(number, payload);
      case FRAME.head:
        return head(number, payload);
      case FRAME.end:
        return end(number, payload);
      case FRAME.credit:
        return credit(number, creditOf(payload));
      case FRAME.fail:
        return fail(number, payload);
      case FRAME.control:
        return control(jsonFields(payload, "a control frame"));
      case FRAME.pong:
        return pong(payload);
      default:
        return; // A later minor version may say more; it may not rely on being understood.
    }
  }

  /** The request behind a number; `undefined` for one that was taken back while frames were on their way. */
  function heldAt(number: number): Held | undefined {
    const held = byNumber.get(number);
    if (held === undefined && (number === 0 || number > lastNumber)) {
      throw new ProtocolError(`Cannot take a frame for request ${number}: there was none`, CLOSE.protocol);
    }
    return held;
  }

  function body(number: number, payload: Uint8Array<ArrayBuffer>): void {
    const held = heldAt(number);
    if (held === undefined) return;
    if (!held.begun) throw new ProtocolError("Cannot take a body before its head", CLOSE.protocol);
    held.granted -= payload.length;
    if (held.granted < 0)
      throw new ProtocolError("Cannot take more of a body than there is room for", CLOSE.flow);
    if (payload.length > 0) events.body(held.id, payload);
  }

  function head(number: number, payload: Uint8Array): void {
    const held = heldAt(number);
    if (held === undefined) return;
    if (held.begun) throw new ProtocolError("Cannot take a second head for one response", CLOSE.protocol);
    const response = readHead(jsonFields(payload, "a head"));
    if (response === undefined) {
      cancel(held.id, { other: "invalid_status" });
      const message = "The backend answered with a status that HTTP does not know";
      return events.broken(held.id, { status: 502, code: "backend_unreachable", message, origin: "backend" });
    }
    held.begun = true;
    events.head(held.id, response);
  }

  function end(number: number, payload: Uint8Array): void {
    const held = heldAt(number);
    if (held === undefined) return;
    if (!held.begun) throw new ProtocolError("Cannot end a response that has no head", CLOSE.protocol);
    forget(held);
    events.end(held.id, payload.length === 0 ? undefined : tokenCounts(jsonFields(payload, "an end")));
  }

  function fail(number: number, payload: Uint8Array): void {
    const held = heldAt(number);
    if (held === undefined) return;
    forget(held);
    events.broken(held.id, readFailure(jsonFields(payload, "a failure")));
  }

  function credit(number: number, bytes: number): void {
    const held = heldAt(number);
    if (held === undefined) return;
    held.credit = addCredit(held.credit, bytes);
    sendBody(held);
  }

  function pong(payload: Uint8Array): void {
    if (payload.length < 4) throw new ProtocolError("Cannot read a pong: it is too short", CLOSE.protocol);
    sendPaused();
    channel.acknowledge();
    events.pong(new DataView(payload.buffer, payload.byteOffset).getUint32(0));
  }

  function control(fields: Fields): void {
    const type = textField(fields, "type");
    if (!registered && type !== "register") {
      throw new ProtocolError(
        `Cannot take "${type.slice(0, 32)}": the first message must be "register"`,
        CLOSE.protocol,
      );
    }
    switch (type) {
      case "register":
        return register(fields);
      case "models_update":
        return events.models(textList(fields, "models"), countField(fields, "current_load"));
      case "error":
        return events.complaint(
          textField(fields, "code").slice(0, 64),
          textField(fields, "message").slice(0, 1_000),
        );
      default:
        return;
    }
  }

  function register(fields: Fields): void {
    if (registered) throw new ProtocolError("Cannot register twice on one link", CLOSE.protocol);
    registered = true;
    theirWindow = windowField(fields, V2_WINDOW);
    packs = namesDeflate(fields);
    const registration: Registration = {
      name: textField(fields, "worker_name"),
      models: textList(fields, "models"),
      maxConcurrent: countField(fields, "max_concurrent"),
      load: optionalCount(fields, "current_load") ?? 0,
      protocolVersion: optionalText(fields, "protocol_version"),
      features: featureList(fields),
    };
    events.registered(registration);
  }

  function forget(held: Held): void {
    byNumber.delete(held.number);
    byId.delete(held.id);
    paused.delete(held);
  }

  /** Sends what the worker has room for, as far as the link is not behind with what it was given. */
  function sendBody(held: Held): void {
    while (held.rest.length > 0 && held.credit > 0) {
      if (channel.unacked > V2_UNACKED_PAUSE) {
        paused.add(held);
        return;
      }
      const size = Math.min(held.rest.length, held.credit, V2_MAX_BODY);
      channel.send(FRAME.body, held.number, held.rest.subarray(0, size));
      held.rest = held.rest.subarray(size);
      held.credit -= size;
      if (held.rest.length === 0) channel.send(FRAME.end, held.number);
    }
    paused.delete(held);
  }

  function sendPaused(): void {
    for (const held of paused) sendBody(held);
  }

  function cancel(id: string, reason: CancelReason): void {
    const held = byId.get(id);
    if (held === undefined) return;
    forget(held);
    channel.sendJson(FRAME.cancel, held.number, { reason });
  }

  return {
    receive(message) {
      if (typeof message === "string")
        throw new ProtocolError("Cannot read a text message: protocol v2 is binary", CLOSE.protocol);
      channel.receive(message);
      if (paused.size > 0) sendPaused();
    },
    accept(acceptance: Acceptance) {
      channel.sendJson(FRAME.control, 0, {
        type: "register_ack",
        worker_id: acceptance.workerId,
        models: acceptance.models,
        ...(acceptance.warnings.length > 0 && { warnings: acceptance.warnings }),
        protocol_version: V2_VERSION,
        session: sessionId,
        grace_ms: graceMs,
        window,
        ...featureFields(packs, acceptance.features),
      });
      if (packs) channel.startPacking();
    },
    carries: () => NEEDS.method | NEEDS.bytes | NEEDS.large,
    request(request: LinkRequest) {
      if (lastNumber === MAX_REQUEST_NUMBER)
        throw new ProtocolError("Cannot number more requests", CLOSE.restart);
      const number = ++lastNumber;
      const held: Held = {
        id: request.id,
        number,
        rest: request.body,
        credit: theirWindow,
        begun: false,
        granted: window,
        taken: 0,
      };
      byNumber.set(number, held);
      byId.set(request.id, held);
      channel.sendJson(FRAME.request, number, {
        request_id: request.id,
        model: request.model,
        method: request.method,
        path: request.path,
        // Left out where it is not so.
        is_streaming: request.streaming || undefined,
        headers: request.headers,
        body_bytes: request.body.length,
      });
      sendBody(held);
    },
    cancel,
    consumed(id, bytes) {
      const held = byId.get(id);
      if (held === undefined) return;
      held.taken += bytes;
      if (held.taken < window / 2) return;
      channel.sendCredit(held.number, held.taken);
      held.granted += held.taken;
      held.taken = 0;
    },
    ping(wallMs) {
      channel.trim();
      channel.acknowledge();
      const payload = new Uint8Array(8);
      writeTime(payload, 0, wallMs);
      channel.send(FRAME.ping, 0, payload);
    },
    drain: (reason, timeoutMs) =>
      channel.sendJson(FRAME.control, 0, {
        type: "graceful_shutdown",
        reason,
        drain_timeout_secs: Math.ceil(timeoutMs / 1_000),
      }),
    refreshModels: (reason) => channel.sendJson(FRAME.control, 0, { type: "models_refresh", reason }),
    flush: () => channel.flush(),
    resumption: {
      sessionId,
      suspend: () => channel.detach(),
      resume(carrier, theirCount) {
        const greeting = jsonFrame(FRAME.resumed, { received: channel.received });
        channel.resume(carrier, theirCount, () => carrier.send(greeting));
        sendPaused();
      },
    },
  };
}

/** @returns `undefined` for a status that is no final one (RFC 9110 §15) */
function readHead(fields: Fields): ResponseHead | undefined {
  const status = countField(fields, "status");
  const headers: HeaderFields = headerFields(fields, "headers");
  return status >= 200 && status <= 599 ? { status, headers } : undefined;
}

function readFailure(fields: Fields): LinkFailure {
  const status = countField(fields, "status");
  return {
    status: status < 400 || status > 599 ? 502 : status,
    code: textField(fields, "code").slice(0, 64),
    message: textField(fields, "message").slice(0, 1_000),
    origin: fields["origin"] === "worker" ? "worker" : "backend",
  };
}
