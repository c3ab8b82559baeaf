import type { Clock, Timer } from "../base/clock.ts";
import { formatDuration } from "../base/duration.ts";
import { Problem } from "../base/errors.ts";
import { requestHeadersForBackend, responseHeadersForLink } from "../protocol/headers.ts";
import type { HeaderFields } from "../protocol/messages.ts";
import { describeNetworkError } from "../base/network-error.ts";

/** The backend could not answer; `status`, `code` and the message, which names no address, are what the client is told. */
export class BackendError extends Problem {
  override readonly name = "BackendError";
  readonly status: number;
  readonly code: string;
  /** Whether the backend itself seems to be down, so that its models should be looked at. */
  readonly down: boolean;

  constructor(
    message: string,
    status: number,
    code: string,
    options: { cause?: unknown; down?: boolean } = {},
  ) {
    super(message, { cause: options.cause });
    this.status = status;
    this.code = code;
    this.down = options.down ?? false;
  }
}

export interface BackendRequest {
  method: string;
  /** Path and query. */
  path: string;
  headers: HeaderFields;
  body: Uint8Array;
}

/** An answer of which the head has come. */
export interface BackendResponse {
  status: number;
  /** Without what belongs to one connection; the body is never compressed. */
  headers: HeaderFields;
  /**
   * The next part of the body, or `undefined` at its end.
   *
   * @throws {BackendError} if the body ends before it is complete, or is silent for too long
   */
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Nobody wants the rest: closes the connection. */
  cancel(): void;
}

export interface BackendOptions {
  url: string;
  apiKey?: string | undefined;
  clock: Clock;
  /** ms; 0 is no limit. */
  firstByteTimeoutMs: number;
  idleTimeoutMs: number;
}

export interface Backend {
  /** Without a final `/` or `/v1`. */
  readonly url: string;
  /**
   * Sends one request. Aborting `signal` closes the connection; the promise, or a pending `read`, is
   * then rejected.
   *
   * @throws {BackendError} 502 if there was no answer, 504 if it took too long, 404 or 405 for a path or
   * a method that is none of an inference API
   */
  send(request: BackendRequest, signal: AbortSignal): Promise<BackendResponse>;
}

/** Ollama's own paths that clients need. Its others pull and delete models, which is the owner's business. */
const OLLAMA_PATHS = new Set([
  "/api/chat",
  "/api/generate",
  "/api/tags",
  "/api/show",
  "/api/embed",
  "/api/embeddings",
  "/api/version",
  "/api/ps",
]);

/** What inference APIs are asked with. A relay that sends CONNECT or TRACE wants something else. */
const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** Dots that a server behind the first one may resolve after it has decoded the slash beside them. */
const HIDDEN_DOTS = /(?:\/|%2f|%5c)(?:\.|%2e){1,2}(?:\/|%2f|%5c|$)/i;

/** `http://host:8000/v1/` and `http://host:8000` are the same backend. */
export function normalizeBackendUrl(url: string): string {
  return url.replace(/\/+$/, "").replace(/\/v1$/, "").replace(/\/+$/, "");
}

/**
 * The full address of a path at the backend, or `undefined` if the path, once its dots are resolved, is
 * none that clients may reach.
 */
export function backendAddress(base: string, path: string): URL | undefined {
  const address = URL.parse(base + path);
  const prefix = new URL(base).pathname.replace(/\/+$/, "");
  if (address === null || !path.startsWith("/") || !address.pathname.startsWith(`${prefix}/`))
    return undefined;
  const inner = address.pathname.slice(prefix.length);
  if (HIDDEN_DOTS.test(inner)) return undefined;
  return inner.startsWith("/v1/") || OLLAMA_PATHS.has(inner) ? address : undefined;
}

export function createBackend(options: BackendOptions): Backend {
  const base = normalizeBackendUrl(options.url);

  return {
    url: base,
    async send(request, signal) {
      const address = backendAddress(base, request.path);
      if (address === undefined) {
        throw new BackendError("This path is not relayed to the backend", 404, "worker_path_not_relayed");
      }
      if (!METHODS.has(request.method)) {
        throw new BackendError("This method is not relayed to the backend", 405, "worker_method_not_relayed");
      }
      const deadline = createDeadline(options, signal);
      let response: Response;
      try {
        response = await fetch(address, {
          method: request.method,
          headers: headersFor(request, options.apiKey),
          ...(takesBody(request) && { body: request.body as Uint8Array<ArrayBuffer> }),
          redirect: "manual",
          keepalive: true,
          // The client's own 300 s limit would cut a long prefill; the deadlines here are the worker's.
          timeout: false,
          // A proxy for the way out of the house does not know the way to a backend inside it.
          proxy: false,
          signal: deadline.signal,
        });
      } catch (error) {
        throw deadline.reason(error, "The worker cannot reach its backend");
      }
      if (response.status < 200 || response.status > 599) {
        deadline.end();
        deadline.abort();
        throw new BackendError(
          `The backend answered with status ${response.status}, which HTTP does not know`,
          502,
          "backend_unreachable",
        );
      }
      return receive(response, deadline, base);
    },
  };
}

function takesBody(request: BackendRequest): boolean {
  return request.body.byteLength > 0 && request.method !== "GET" && request.method !== "HEAD";
}

function headersFor(request: BackendRequest, apiKey: string | undefined): HeaderFields {
  const headers = requestHeadersForBackend(request.headers);
  // Compression between two programs of one house costs more than it saves, and bytes must stay readable.
  headers["accept-encoding"] = "identity";
  if (apiKey !== undefined) headers["authorization"] = `Bearer ${apiKey}`;
  return headers;
}

/** A redirect within the backend as the client can follow it: it neither knows nor may know the backend's address. */
function publicLocation(location: string, base: string): string {
  const prefix = new URL(base);
  const target = URL.parse(location, base);
  if (target === null || target.origin !== prefix.origin) return location;
  const path = prefix.pathname.replace(/\/+$/, "");
  const inner = target.pathname.startsWith(`${path}/`) ? target.pathname.slice(path.length) : target.pathname;
  return inner + target.search + target.hash;
}

function receive(response: Response, deadline: Deadline, base: string): BackendResponse {
  const given = new Headers(response.headers);
  const location = given.get("location");
  if (location !== null) given.set("location", publicLocation(location, base));
  if (given.has("content-encoding")) {
    // The HTTP client has already decompressed the body, so the field would no longer be true.
    given.delete("content-encoding");
    given.delete("content-length");
  }
  const reader = response.body?.getReader() as
    ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  if (reader === undefined) deadline.end();
  return {
    status: response.status,
    headers: responseHeadersForLink(given),
    async read() {
      if (reader === undefined) return undefined;
      deadline.wait();
      try {
        const { done, value } = await reader.read();
        if (done) {
          deadline.end();
          return undefined;
        }
        deadline.came();
        return value;
      } catch (error) {
        throw deadline.reason(error, "The backend broke off its answer");
      }
    },
    cancel() {
      deadline.end();
      deadline.abort();
    },
  };
}

/** Aborts the request when the caller does, or when the backend has been silent for too long. */
interface Deadline {
  readonly signal: AbortSignal;
  /** The next part of the body is being waited for. Only then time counts: a slow relay is not the backend's fault. */
  wait(): void;
  /** A part of the body has come. */
  came(): void;
  end(): void;
  abort(): void;
  /** What to throw for an error of the HTTP client; ends the deadline. */
  reason(error: unknown, message: string): unknown;
}

function createDeadline(options: BackendOptions, outer: AbortSignal): Deadline {
  const abort = new AbortController();
  let late: BackendError | undefined;
  let timer: Timer | undefined;
  let first = true;
  const forward = (): void => {
    timer?.cancel();
    abort.abort(outer.reason);
  };

  function arm(ms: number, what: string, code: string): void {
    timer?.cancel();
    timer = undefined;
    if (ms === 0) return;
    timer = options.clock.after(ms, () => {
      late = new BackendError(`The backend sent ${what} for ${formatDuration(ms)}`, 504, code);
      abort.abort(late);
    });
  }

  function end(): void {
    timer?.cancel();
    outer.removeEventListener("abort", forward);
  }

  if (outer.aborted) forward();
  else outer.addEventListener("abort", forward, { once: true });
  arm(options.firstByteTimeoutMs, "nothing", "first_byte_timeout");

  return {
    signal: abort.signal,
    wait() {
      if (!first) arm(options.idleTimeoutMs, "nothing more", "idle_timeout");
    },
    came() {
      first = false;
      timer?.cancel();
    },
    end,
    abort: () => abort.abort(),
    reason(error, message) {
      end();
      if (outer.aborted) return outer.reason;
      if (late !== undefined) return late;
      return new BackendError(`${message}: ${describeNetworkError(error)}`, 502, "backend_unreachable", {
        cause: error,
        down: true,
      });
    },
  };
}
