import { unescape } from "node:querystring";
import { requestHeadersForBackend } from "../protocol/headers.ts";
import type { HeaderFields } from "../protocol/messages.ts";
import { BackendError } from "./backend-error.ts";
import {
  BackendExchange,
  type BackendCall,
  type BackendEvents,
  type SilenceLimits,
} from "./backend-exchange.ts";
import { HttpClient } from "./http/http-client.ts";

export interface BackendRequest {
  method: string;
  /** Path and query. */
  path: string;
  headers: HeaderFields;
  body: Uint8Array;
}

export interface BackendOptions extends SilenceLimits {
  url: string;
  /** Sent as `Authorization: Bearer`, in place of name and password in the address. */
  apiKey?: string | undefined;
}

export interface Backend {
  /** Without a final `/` or `/v1`. */
  readonly url: string;
  /**
   * Sends one request. Nothing is told before this has returned. What fails later is told as
   * 502 if there was no whole answer, and 504 if it took too long.
   *
   * @throws {BackendError} 404 or 405 for a path or a method that is none of an inference API
   */
  send(request: BackendRequest, events: BackendEvents): BackendCall;
  /** Closes the connections that wait for further requests. */
  close(): void;
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

/** An address as people may see it: without the name and the password that it may hold. */
export function shownUrl(url: string): string {
  return url.replace(/^(\w+:\/\/)[^/?#]*@/, "$1");
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

/** Paths whose addresses are remembered: nearly all requests ask for the same few. */
const MAX_KNOWN_PATHS = 64;

export function createBackend(options: BackendOptions): Backend {
  const base = normalizeBackendUrl(options.url);
  const origin = new URL(base);
  const client = new HttpClient(origin, options.clock);
  const targets = new Map<string, string>();
  // Heads are written byte by byte: a key beyond ASCII goes out as UTF-8.
  const authorization =
    options.apiKey === undefined
      ? basicAuthorization(origin)
      : `Bearer ${Buffer.from(options.apiKey).toString("latin1")}`;

  /** Path and query as the backend is asked for them. */
  function targetOf(path: string): string {
    const known = targets.get(path);
    if (known !== undefined) return known;
    const address = backendAddress(base, path);
    if (address === undefined)
      throw new BackendError("This path is not relayed to the backend", 404, "worker_path_not_relayed");
    const target = address.pathname + address.search;
    if (targets.size >= MAX_KNOWN_PATHS) targets.clear();
    targets.set(path, target);
    return target;
  }

  return {
    url: base,
    send(request, events) {
      const target = targetOf(request.path);
      const { method } = request;
      if (!METHODS.has(method))
        throw new BackendError("This method is not relayed to the backend", 405, "worker_method_not_relayed");
      const body = takesBody(request) ? request.body : NO_BODY;
      const fields = requestHeadersForBackend(request.headers);
      if (authorization !== undefined) fields["authorization"] = authorization;
      const head = encodeHead(method, target, origin.host, fields, body.byteLength);
      return new BackendExchange(options, base, events, (answer) =>
        client.request(head, body, method === "HEAD", answer),
      );
    },
    close: () => client.close(),
  };
}

/** Name and password in an address (RFC 7617), as common HTTP clients take them; a "%" that escapes nothing stays. */
function basicAuthorization({ username, password }: URL): string | undefined {
  if (username === "" && password === "") return undefined;
  return `Basic ${Buffer.from(unescape(`${username}:${password}`)).toString("base64")}`;
}

const NO_BODY = new Uint8Array(0);

function takesBody(request: BackendRequest): boolean {
  return request.body.byteLength > 0 && request.method !== "GET" && request.method !== "HEAD";
}

/** The request's head; its fields have been checked for what could end a line. */
function encodeHead(
  method: string,
  target: string,
  host: string,
  fields: HeaderFields,
  bodyBytes: number,
): string {
  // Compression between two programs of one house costs more than it saves, and bytes must stay readable.
  let head = `${method} ${target} HTTP/1.1\r\nhost: ${host}\r\naccept-encoding: identity\r\n`;
  if (bodyBytes > 0 || (method !== "GET" && method !== "HEAD")) head += `content-length: ${bodyBytes}\r\n`;
  for (const name in fields) head += `${name}: ${fields[name]}\r\n`;
  return `${head}\r\n`;
}
