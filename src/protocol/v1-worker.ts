import { dialectOf, errorEvent, type Boundary } from "./dialect.ts";
import { V1_MAX_CHUNK, V1_MAX_MESSAGE } from "./limits.ts";
import type { Carrier, ResponseWriter, WorkerCodec, WorkerEvents } from "./link.ts";
import { wireTokens } from "./token-counts.ts";
import type { CancelReason, Feature, LinkRequest, Registration, ResponseHead } from "./messages.ts";
import {
  featureList,
  headerFields,
  optionalCount,
  optionalText,
  parseMessage,
  textField,
  textList,
  V1_VERSION,
  type Fields,
} from "./v1.ts";

/** Content types that come a piece at a time, so that no piece may wait for the next. */
const STREAM_TYPE = /^(text\/event-stream|application\/(x-ndjson|jsonl|x-json-stream))\b/i;

const encoder = new TextEncoder();

/** The worker's end of a v1 link. */
export function createV1WorkerCodec(carrier: Carrier, events: WorkerEvents): WorkerCodec {
  let features: Feature[] = [];
  /** Requests of which only a part has come, by id. */
  const arriving = new Map<string, { fields: Fields; parts: Uint8Array[] }>();

  function send(message: Record<string, unknown>): void {
    carrier.send(JSON.stringify(message));
  }

  function accepted(fields: Fields): void {
    features = featureList(fields);
    events.accepted({
      workerId: textField(fields, "worker_id"),
      models: textList(fields, "models"),
      warnings: fields["warnings"] === undefined ? [] : textList(fields, "warnings"),
      features,
    });
  }

  function request(fields: Fields): void {
    const id = textField(fields, "request_id");
    const part = encoder.encode(textField(fields, "body"));
    if (fields["more"] === true) arriving.set(id, { fields, parts: [part] });
    else requestComplete(id, fields, part);
  }

  function requestBody(fields: Fields): void {
    const id = textField(fields, "request_id");
    const part = encoder.encode(textField(fields, "body"));
    const begun = arriving.get(id);
    // The request was cancelled meanwhile: nobody waits for the rest of it.
    if (begun === undefined) return;
    begun.parts.push(part);
    if (fields["more"] === true) return;
    arriving.delete(id);
    requestComplete(id, begun.fields, Buffer.concat(begun.parts));
  }

  function requestComplete(id: string, fields: Fields, body: Uint8Array): void {
    events.request({
      id,
      model: textField(fields, "model"),
      method: optionalText(fields, "method") ?? "POST",
      path: textField(fields, "endpoint_path"),
      streaming: fields["is_streaming"] === true,
      headers: headerFields(fields, "headers"),
      body,
    });
  }

  return {
    receive(message) {
      const { type, fields } = parseMessage(message);
      switch (type) {
        case "register_ack":
          return accepted(fields);
        case "request":
          return request(fields);
        case "request_body":
          return requestBody(fields);
        case "cancel": {
          const id = textField(fields, "request_id");
          arriving.delete(id);
          return events.cancel(id, cancelReason(fields["reason"]));
        }
        case "ping":
          return events.ping(optionalCount(fields, "timestamp_unix_ms"));
        case "graceful_shutdown": {
          const secs = optionalCount(fields, "drain_timeout_secs");
          return events.drain(optionalText(fields, "reason"), secs === undefined ? undefined : secs * 1_000);
        }
        case "models_refresh":
          return events.refreshModels();
        default:
          return;
      }
    },
    register(registration: Registration) {
      send({
        type: "register",
        worker_name: registration.name,
        models: registration.models,
        max_concurrent: registration.maxConcurrent,
        protocol_version: V1_VERSION,
        current_load: registration.load,
        ...(registration.features.length > 0 && { features: registration.features }),
      });
    },
    respond: (held) => createV1Writer(held, send, () => carrier.room?.(), features.includes("head")),
    pong: (load, timestampMs) =>
      send({
        type: "pong",
        current_load: load,
        ...(timestampMs !== undefined && { timestamp_unix_ms: timestampMs }),
      }),
    models: (models, load) => send({ type: "models_update", models, current_load: load }),
  };
}

/**
 * Writes one response in v1: a stream goes out chunk by chunk, everything else is collected into one
 * `response_complete`. With `headFirst` the first chunk carries status and headers, so that an answer
 * too long for one message can be split as well.
 */
function createV1Writer(
  request: LinkRequest,
  send: (message: Record<string, unknown>) => void,
  room: () => Promise<void> | undefined,
  headFirst: boolean,
): ResponseWriter {
  // Fatal: text that cannot be decoded must not be replaced. A character split between two parts is
  // held back by the decoder until its end has come.
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let head: ResponseHead | undefined;
  let collected: string[] = [];
  let collectedLength = 0;
  let chunking = false;
  let chunksSent = 0;
  /** How the chunks so far end. */
  let tail = "";
  let finished = false;

  function decode(bytes?: Uint8Array<ArrayBuffer>): string | undefined {
    try {
      return bytes === undefined ? decoder.decode() : decoder.decode(bytes, { stream: true });
    } catch {
      fail(
        502,
        "The backend's answer is not text, and this link (protocol v1) carries text only; it needs protocol v2 at both ends",
        "worker_link_text_only",
      );
      return undefined;
    }
  }

  function chunk(text: string): void {
    for (let at = 0; at < text.length; at = pieceEnd(text, at)) {
      const first = chunksSent++ === 0 && headFirst && head !== undefined;
      send({
        type: "response_chunk",
        request_id: request.id,
        chunk: text.slice(at, pieceEnd(text, at)),
        ...(first && { status_code: head?.status, headers: head?.headers }),
      });
    }
    tail = (tail + text.slice(-4)).slice(-4);
  }

  function fail(status: number, message: string, code = "backend_unreachable"): void {
    if (finished) return;
    finished = true;
    collected = [];
    // Relays in the field end a stream as if it were whole, whatever its completion says.
    if (chunksSent > 0 && !headFirst) {
      chunk(errorEvent(dialectOf(request.path), { status, code, message }, boundaryOf(tail)));
    }
    send({
      type: "response_complete",
      request_id: request.id,
      status_code: status,
      headers: {
        "content-type": "text/plain; charset=utf-8",
        "x-modelrelay-error": code.startsWith("worker_") ? "worker" : "backend",
        "x-modelrelay-code": code,
      },
      body: message,
    });
  }

  return {
    get finished() {
      return finished;
    },
    room,
    head(given) {
      head = given;
      const successful = given.status >= 200 && given.status < 300;
      chunking = successful && request.streaming && STREAM_TYPE.test(given.headers["content-type"] ?? "");
    },
    body(bytes) {
      if (finished) return;
      const text = decode(bytes);
      if (text === undefined || text === "") return;
      if (chunking) return chunk(text);
      collected.push(text);
      collectedLength += text.length;
      if (headFirst && collectedLength > V1_MAX_CHUNK) {
        chunking = true;
        chunk(collected.join(""));
        collected = [];
      } else if (collectedLength > V1_MAX_MESSAGE) {
        tooLarge();
      }
    },
    end(tokens) {
      if (finished || decode() === undefined) return;
      // Without chunks the completion carries everything; with them it only says that this was all.
      const whole = chunksSent === 0;
      const body = collected.join("");
      const message = {
        type: "response_complete",
        request_id: request.id,
        status_code: head?.status ?? 200,
        ...(whole && { headers: head?.headers ?? {}, ...(body !== "" && { body }) }),
        ...(tokens !== undefined && { token_counts: wireTokens(tokens) }),
      };
      // Escaping can lengthen the text, so the limit holds for what is really sent.
      if (whole && Buffer.byteLength(JSON.stringify(message)) > V1_MAX_MESSAGE) return tooLarge();
      finished = true;
      send(message);
    },
    fail,
    cancelled() {
      if (finished) return;
      finished = true;
      collected = [];
      // Relays in the field keep the slot of a cancelled request until it is completed.
      send({ type: "response_complete", request_id: request.id, status_code: 499 });
    },
  };

  function tooLarge(): void {
    fail(
      502,
      `The backend's answer is larger than one message of this link (protocol v1, ${V1_MAX_MESSAGE} bytes); ask for a stream, or use protocol v2 at both ends`,
      "worker_link_too_small",
    );
  }
}

/** Where a stream stands whose last characters these are. */
function boundaryOf(tail: string): Boundary {
  if (/(^|\n)\r?\n$/.test(tail)) return "event";
  return tail.endsWith("\n") ? "line" : "inside";
}

/** A reason is for the log only, so one that is not understood is no error. */
function cancelReason(reason: unknown): CancelReason {
  if (typeof reason === "string") return reason as CancelReason;
  const other = (reason as { other?: unknown } | null | undefined)?.other;
  return { other: typeof other === "string" ? other : "unknown" };
}

/** End of the piece of `text` that begins at `start`: never inside a surrogate pair. */
function pieceEnd(text: string, start: number): number {
  const end = start + V1_MAX_CHUNK;
  if (end >= text.length) return text.length;
  const last = text.charCodeAt(end - 1);
  return last >= 0xd800 && last <= 0xdbff ? end - 1 : end;
}
