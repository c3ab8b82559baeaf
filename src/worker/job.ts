import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { ResponseWriter } from "../protocol/link.ts";
import type { HeaderFields, LinkRequest } from "../protocol/messages.ts";
import { BackendError, type Backend, type BackendResponse } from "./backend.ts";
import type { ModelName } from "./config.ts";
import { FIRST_EVENT_BYTES, readFirstEvent, type StreamError } from "./first-event.ts";
import { concatBytes } from "./json-fields.ts";
import { renameAnswer, renameRequestBody } from "./rename.ts";

/** What one request needs on its way to the backend and back. */
export interface JobContext {
  clock: Clock;
  request: LinkRequest;
  writer: ResponseWriter;
  backend: Backend;
  model: ModelName;
  /** Aborted with a `JobEnd` as its reason. */
  signal: AbortSignal;
  /** The backend could not be reached, or broke off. */
  backendFailed(error: BackendError): void;
}

/** Why a running job was ended from outside. */
export type JobEnd = { kind: "cancelled" } | { kind: "shutdown" };

type Bytes = Uint8Array<ArrayBuffer>;

/** Runs one request to its end. Never rejects; the writer has been told the outcome when it resolves. */
export async function runJob(context: JobContext): Promise<void> {
  const { request, writer, model, signal } = context;
  try {
    const body = renameRequestBody(request, model);
    const { method, path, headers } = request;
    const sentAt = context.clock.now();
    const response = await context.backend.send({ method, path, headers, body }, signal);
    addTiming(response.headers, context.clock.now() - sentAt);
    await forward(response, context);
  } catch (error) {
    if (signal.aborted) {
      if ((signal.reason as JobEnd | undefined)?.kind === "shutdown") {
        writer.fail(503, "The worker stopped before the answer was complete", "worker_shutdown");
      } else {
        writer.cancelled();
      }
    } else if (error instanceof BackendError) {
      if (error.down) context.backendFailed(error);
      writer.fail(error.status, error.message, error.code);
    } else {
      writer.fail(500, `The worker failed: ${messageOf(error)}`, "worker_failed");
    }
  }
}

/** Adds the backend's time to its head to whatever it says of itself (W3C Server Timing). */
function addTiming(headers: HeaderFields, ms: number): void {
  const own = `backend;dur=${ms.toFixed(1)}`;
  const given = headers["server-timing"];
  headers["server-timing"] = given === undefined ? own : `${own}, ${given}`;
}

async function forward(response: BackendResponse, context: JobContext): Promise<void> {
  const { writer, signal } = context;
  const type = response.headers["content-type"];
  const opening = opensWithEvent(response.status, type) ? await readOpening(response) : undefined;
  if (opening?.error !== undefined) {
    writer.head({ status: opening.error.status, headers: errorHeaders(response.headers) });
    writer.body(opening.error.body);
    writer.end();
    // Nobody waits for what follows an error.
    response.cancel();
    return;
  }

  const transform = renameAnswer(type, context.model);
  const write = (part: Bytes): void => {
    const bytes = transform === undefined ? part : transform.part(part);
    if (bytes.byteLength > 0) writer.body(bytes);
  };
  writer.head({ status: response.status, headers: response.headers });
  if (opening !== undefined) write(opening.held);
  const aborted = abortOf(signal);
  for (;;) {
    // Asked before each read, so that a slow relay stops the reading and nothing piles up here.
    const held = writer.room();
    if (held !== undefined) await Promise.race([held, aborted()]);
    signal.throwIfAborted();
    const part = await response.read();
    signal.throwIfAborted();
    if (part === undefined) break;
    write(part);
    // The link cannot carry this answer and has said so.
    if (writer.finished) return response.cancel();
  }
  const rest = transform?.end();
  if (rest !== undefined && rest.byteLength > 0) writer.body(rest);
  writer.end();
  // A worker that leaves must not take with it what its client has not made room for yet.
  for (let held = writer.room(); held !== undefined && !writer.finished; held = writer.room()) {
    await Promise.race([held, aborted()]);
    signal.throwIfAborted();
  }
}

function opensWithEvent(status: number, type: string | undefined): boolean {
  return status === 200 && type !== undefined && /^text\/event-stream\b/i.test(type);
}

/** Reads a stream up to the end of its first event. */
async function readOpening(
  response: BackendResponse,
): Promise<{ held: Bytes; error: StreamError | undefined }> {
  let held: Bytes = new Uint8Array(0);
  for (;;) {
    const part = await response.read();
    if (part !== undefined) held = held.byteLength === 0 ? part : concatBytes([held, part]);
    // Only a line break can complete an event.
    if (
      part !== undefined &&
      !part.includes(0x0a) &&
      !part.includes(0x0d) &&
      held.byteLength <= FIRST_EVENT_BYTES
    ) {
      continue;
    }
    const { complete, error } = readFirstEvent(held, part === undefined);
    if (complete || part === undefined) return { held, error };
  }
}

/** The head that an error has when its stream is taken back. */
function errorHeaders(headers: HeaderFields): HeaderFields {
  return { ...headers, "content-type": "application/json" };
}

/** One promise for one signal, made when it is first needed. */
function abortOf(signal: AbortSignal): () => Promise<void> {
  let promise: Promise<void> | undefined;
  return () =>
    (promise ??= new Promise((resolve) => signal.addEventListener("abort", () => resolve(), { once: true })));
}
