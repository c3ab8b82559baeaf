import { Channel } from "./channel.ts";
import { FRAME, jsonFrame } from "./frames.ts";
import { CLOSE, V2_UNACKED_PAUSE, V2_WINDOW } from "./limits.ts";
import type { Carrier, WorkerCodec, WorkerEvents } from "./link.ts";
import { ProtocolError, type Registration } from "./messages.ts";
import {
  countField,
  headerFields,
  optionalCount,
  optionalText,
  textField,
  textList,
  type Fields,
} from "./v1.ts";
import { V2Writer, type WriterEvents } from "./v2-writer.ts";
import {
  cancelReason,
  creditOf,
  featureFields,
  jsonFields,
  namesDeflate,
  V2_VERSION,
  windowField,
  writeTime,
} from "./v2.ts";

/** A request whose body is still coming. */
interface Arriving {
  fields: Fields;
  id: string;
  parts: Uint8Array[];
  /** Bytes of the body that are still to come, that may come now, and that have come since the last credit. */
  missing: number;
  granted: number;
  uncredited: number;
}

export interface V2WorkerOptions {
  schedule(flush: () => void): void;
  overflowed(error: ProtocolError): void;
  /** Bytes of a request's body that may be on their way. */
  window?: number;
  /** Asks the relay for compression of the link. */
  compress?: boolean;
}

/** The worker's end of a v2 link. */
export function createV2WorkerCodec(
  first: Carrier,
  events: WorkerEvents,
  options: V2WorkerOptions,
): WorkerCodec {
  const { window = V2_WINDOW, compress = false } = options;
  const channel = new Channel({ ...options, frame });
  channel.attach(first);
  let asking: Carrier | undefined;
  let sessionId = "";
  let theirWindow = V2_WINDOW;
  let lastNumber = 0;
  const arriving = new Map<number, Arriving>();
  /** Requests that have come whole and are not answered yet. */
  const numbers = new Map<string, number>();
  const writers = new Map<number, V2Writer>();
  /** Those that wait for acknowledgements. */
  const paused = new Set<V2Writer>();
  const writing: WriterEvents = {
    paused: (writer) => void paused.add(writer),
    flowing: (writer) => void paused.delete(writer),
    finished(writer) {
      paused.delete(writer);
      writers.delete(writer.number);
    },
  };

  function frame(type: number, number: number, payload: Uint8Array<ArrayBuffer>): void {
    if (asking !== undefined && type !== FRAME.resumed && type !== FRAME.refused)
      throw new ProtocolError("Cannot take a frame before the session goes on", CLOSE.protocol);
    switch (type) {
      case FRAME.credit:
        return credit(number, payload);
      case FRAME.request:
        return request(number, jsonFields(payload, "a request"));
      case FRAME.body:
        return body(number, payload);
      case FRAME.end:
        return bodyEnded(number);
      case FRAME.cancel:
        return cancel(number, jsonFields(payload, "a cancellation"));
      case FRAME.control:
        return control(jsonFields(payload, "a control frame"));
      case FRAME.ping:
        channel.trim();
        channel.acknowledge();
        return events.ping(payload.length === 8 ? timeOf(payload) : undefined);
      case FRAME.resumed:
        return resumed(jsonFields(payload, "a resumption"));
      case FRAME.refused:
        return refused(jsonFields(payload, "a refusal"));
      default:
        return;
    }
  }

  function credit(number: number, payload: Uint8Array): void {
    const writer = writers.get(number);
    if (writer === undefined) return mustBeOver(number);
    writer.grant(creditOf(payload));
  }

  function request(number: number, fields: Fields): void {
    if (number <= lastNumber)
      throw new ProtocolError(`Cannot take request ${number} after ${lastNumber}`, CLOSE.protocol);
    lastNumber = number;
    const id = textField(fields, "request_id");
    const missing = countField(fields, "body_bytes");
    const begun: Arriving = { fields, id, parts: [], missing, granted: window, uncredited: 0 };
    numbers.set(id, number);
    if (missing === 0) complete(begun);
    else arriving.set(number, begun);
  }

  function body(number: number, payload: Uint8Array): void {
    const begun = arriving.get(number);
    if (begun === undefined) return mustBeOver(number);
    begun.missing -= payload.length;
    if (begun.missing < 0)
      throw new ProtocolError("Cannot take more of a body than was announced", CLOSE.protocol);
    begun.granted -= payload.length;
    if (begun.granted < 0)
      throw new ProtocolError("Cannot take more of a body than there is room for", CLOSE.flow);
    if (payload.length === 0) return;
    begun.parts.push(payload);
    begun.uncredited += payload.length;
    if (begun.uncredited < window / 2 || begun.missing === 0) return;
    channel.sendCredit(number, begun.uncredited);
    begun.granted += begun.uncredited;
    begun.uncredited = 0;
  }

  function bodyEnded(number: number): void {
    const begun = arriving.get(number);
    if (begun === undefined) return mustBeOver(number);
    if (begun.missing > 0)
      throw new ProtocolError("Cannot take a body that is shorter than announced", CLOSE.protocol);
    arriving.delete(number);
    complete(begun);
  }

  /** A frame for a request that is over, or was taken back meanwhile, is skipped. */
  function mustBeOver(number: number): void {
    if (number > 0 && number <= lastNumber) return;
    throw new ProtocolError(`Cannot take a frame for request ${number}: there was none`, CLOSE.protocol);
  }

  function complete({ fields, id, parts }: Arriving): void {
    const [only] = parts;
    events.request({
      id,
      model: textField(fields, "model"),
      method: textField(fields, "method"),
      path: textField(fields, "path"),
      streaming: fields["is_streaming"] === true,
      headers: headerFields(fields, "headers"),
      body: parts.length === 1 && only !== undefined ? only : Buffer.concat(parts),
    });
  }

  function cancel(number: number, fields: Fields): void {
    const id = arriving.get(number)?.id ?? writers.get(number)?.id;
    arriving.delete(number);
    if (id === undefined) return mustBeOver(number);
    writers.get(number)?.cancelled();
    numbers.delete(id);
    events.cancel(id, cancelReason(fields["reason"]));
  }

  function control(fields: Fields): void {
    switch (textField(fields, "type")) {
      case "register_ack":
        return accepted(fields);
      case "graceful_shutdown": {
        const secs = optionalCount(fields, "drain_timeout_secs");
        return events.drain(optionalText(fields, "reason"), secs === undefined ? undefined : secs * 1_000);
      }
      case "models_refresh":
        return events.refreshModels();
      default:
        return;
    }
  }

  function accepted(fields: Fields): void {
    sessionId = textField(fields, "session");
    theirWindow = windowField(fields, V2_WINDOW);
    if (compress && namesDeflate(fields)) channel.startPacking();
    events.accepted({
      workerId: textField(fields, "worker_id"),
      models: textList(fields, "models"),
      warnings: fields["warnings"] === undefined ? [] : textList(fields, "warnings"),
      features: [],
      graceMs: countField(fields, "grace_ms"),
    });
  }

  function resumed(fields: Fields): void {
    if (asking === undefined) throw new ProtocolError("Cannot go on: nobody has asked", CLOSE.protocol);
    channel.resume(asking, countField(fields, "received"));
    asking = undefined;
    events.resumed?.();
  }

  function refused(fields: Fields): void {
    if (asking === undefined) throw new ProtocolError("Cannot be refused: nobody has asked", CLOSE.protocol);
    asking = undefined;
    events.refused?.(optionalText(fields, "reason") ?? "");
  }

  function sendPaused(): void {
    if (channel.unacked > V2_UNACKED_PAUSE) return;
    for (const writer of paused) writer.pump();
  }

  return {
    receive(message) {
      if (typeof message === "string")
        throw new ProtocolError("Cannot read a text message: protocol v2 is binary", CLOSE.protocol);
      channel.receive(message);
      if (paused.size > 0) sendPaused();
    },
    register: (registration: Registration) =>
      channel.sendJson(FRAME.control, 0, {
        type: "register",
        worker_name: registration.name,
        models: registration.models,
        max_concurrent: registration.maxConcurrent,
        protocol_version: V2_VERSION,
        current_load: registration.load,
        window,
        ...featureFields(compress, registration.features),
      }),
    respond(held) {
      // Taken back before it was begun, if it is not there: there is nobody to answer.
      const number = numbers.get(held.id) ?? 0;
      numbers.delete(held.id);
      const writer = new V2Writer(held.id, number, theirWindow, channel, writing);
      if (number === 0) writer.cancelled();
      else writers.set(number, writer);
      return writer;
    },
    pong(load, timestampMs) {
      const payload = new Uint8Array(12);
      new DataView(payload.buffer).setUint32(0, load);
      writeTime(payload, 4, timestampMs ?? 0);
      channel.send(FRAME.pong, 0, payload);
    },
    models: (models, load) =>
      channel.sendJson(FRAME.control, 0, { type: "models_update", models, current_load: load }),
    flush: () => channel.flush(),
    continuation: {
      get owes() {
        return channel.unacked > 0;
      },
      suspend() {
        asking = undefined;
        channel.detach();
      },
      ask(carrier) {
        asking = carrier;
        // Nothing of the session may go over the new carrier before the relay has said where it stands.
        carrier.send(jsonFrame(FRAME.resume, { session: sessionId, received: channel.received }));
      },
    },
  };
}

function timeOf(payload: Uint8Array): number {
  return Number(new DataView(payload.buffer, payload.byteOffset, 8).getBigUint64(0));
}
