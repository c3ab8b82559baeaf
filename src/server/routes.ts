import type { Clock } from "../base/clock.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { dialectOf, type Dialect } from "../protocol/dialect.ts";
import { fieldsOf } from "../protocol/headers.ts";
import { LINK_CHECK_PATH, STREAM_CHECK_PATH, WORKER_PATH } from "../protocol/paths.ts";
import type { CertificateReport } from "../tls/source.ts";
import { isAdmin, type AdminApi } from "./admin/admin-api.ts";
import { newRequestId, refused, relayRequest, type ApiRequest, type Surroundings } from "./api.ts";
import { AttemptThrottle } from "./attempt-throttle.ts";
import type { BodyReader } from "./body.ts";
import type { Bodies } from "./bodies/index.ts";
import type { ClientAdmission } from "./client-admission.ts";
import { refusalError, relayError, type ClientError } from "./client-error.ts";
import type { Connection } from "./connection.ts";
import { CorsPolicy } from "./cors.ts";
import { idHeaders } from "./dialect.ts";
import { errorResponse } from "./error-response.ts";
import type { RequestLimits } from "./limits/request-limits.ts";
import { allowedOf, modelRefusal } from "./model-access.ts";
import type { LocalProof } from "./local-proof.ts";
import { modelEntry, modelList } from "./model-list.ts";
import type { Relay } from "./relay.ts";
import { RequestRecord, type RecordSink } from "./request-record.ts";
import { requestTarget, type RequestTarget } from "./request-target.ts";
import { health, readiness } from "./status.ts";
import { createStreamCheck } from "./stream-check.ts";
import type { Tracing } from "./trace/tracing.ts";

const METHODS = new Set(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]);

/** Ollama's paths that clients need; everything under `/v1/` is relayed anyway. */
const OLLAMA_PATHS = new Set([
  "/api/chat",
  "/api/generate",
  "/api/show",
  "/api/embed",
  "/api/embeddings",
  "/api/version",
  "/api/ps",
]);

/** Web pages may call `/v1/*` alone: an Ollama that is called directly lets no foreign page in either. */
const NO_CORS = new CorsPolicy([]);

/** A client's own id is used when it is short and plain enough to log and to send back. */
const CLIENT_ID = /^[A-Za-z0-9._:-]{1,128}$/;

export interface RoutesOptions {
  relay: Relay;
  bodyReader: BodyReader;
  clock: Clock;
  log: Log;
  cors: () => CorsPolicy;
  /** Who may use the models. */
  clients: ClientAdmission;
  /** How much they may use them. */
  limits: RequestLimits;
  /** Whether a value is one of the relay's own secrets, which never leave it. */
  isOurs: (value: string) => boolean;
  /** The client's address, whatever proxies are in between. */
  addressOf: (request: Request, connection: Connection) => string;
  /** Answers `GET /v1/worker/connect`; undefined once the connection is a WebSocket. */
  connectWorker: (request: Request, target: RequestTarget, connection: Connection) => Response | undefined;
  /** Answers operators; absent where there is no admin API. */
  admin?: AdminApi | undefined;
  /** What is known of the relay's own certificates; none without TLS. */
  certificates: () => readonly CertificateReport[];
  /** What operators have to know beside what the relay's own state tells. */
  warnings: () => readonly string[];
  /** Answers `GET /metrics`. */
  metrics: (request: Request) => Promise<Response | ClientError>;
  /** Finds the trace of each request to an API; `undefined` where traces are not exported. */
  tracing: Tracing | undefined;
  /** Keeps what is asked and answered; `undefined` where that is not wanted. */
  bodies: Bodies | undefined;
  /** Shows programs on this machine that this is the relay which they look for. */
  proof: LocalProof | undefined;
  /** Takes the record of each request to an API. */
  ended: RecordSink;
}

export type Handler = (
  request: Request,
  connection: Connection,
) => Response | undefined | Promise<Response | undefined>;

/** Finds who answers a request. Never throws and never rejects. */
export function createRoutes(options: RoutesOptions): Handler {
  const { relay, clock, log, ended } = options;
  const streamCheck = createStreamCheck(clock, options.addressOf);
  const metricsThrottle = new AttemptThrottle(clock);

  const surroundings: Surroundings = {
    relay,
    bodies: options.bodyReader,
    isOurs: options.isOurs,
    failed: ({ record, dialect }, error) => failed(error, dialect, record.clientId, record),
  };

  // No async function: most requests wait once, for their answer, and each promise on the way costs them.
  return (request, connection) => {
    const headers = fieldsOf(request.headers);
    const given = headers["x-request-id"];
    const own = newRequestId();
    const clientId = given !== undefined && CLIENT_ID.test(given) ? given : own;
    const target = requestTarget(request.url);
    const dialect = target === undefined ? "openai" : dialectOf(target.path, headers);
    let record: RequestRecord | undefined;
    const fail = (error: unknown) => failed(error, dialect, clientId, record);
    try {
      if (target === undefined)
        return refuse(
          relayError(400, "invalid_request", "The request's path is malformed"),
          dialect,
          clientId,
        );
      const { path } = target;
      if (!METHODS.has(request.method)) return methodNotAllowed(dialect, clientId, [...METHODS]);
      if (path === WORKER_PATH) return options.connectWorker(request, target, connection);
      const addressOf = () => options.addressOf(request, connection);
      if (options.admin !== undefined && isAdmin(path))
        return options.admin(request, target, addressOf(), clientId).catch(fail);
      if (path === STREAM_CHECK_PATH) return streamCheck.stream(request, connection, clientId);
      if (path === LINK_CHECK_PATH) return streamCheck.silence(request, connection, clientId);
      if (isApi(path)) {
        const cors = path.startsWith("/v1/") ? options.cors() : NO_CORS;
        if (request.method === "OPTIONS") return cors.preflight(request);
        record = new RequestRecord({ id: own, clientId, method: request.method, path }, clock, ended);
        record.trace = options.tracing?.begin(request, own);
        record.bodies = options.bodies?.begin();
        const client = options.clients.admit(headers, addressOf);
        if ("status" in client) return cors.allow(request, refused(record, client, dialect));
        record.client = client;
        const answer = answerApi({ request, headers, target, dialect, record, client, connection });
        if (headers["origin"] === undefined) return answer;
        const allow = (response: Response) => cors.allow(request, response);
        return answer instanceof Promise ? answer.then(allow) : allow(answer);
      }
      if (path === "/metrics") return answerMetrics(request, connection, dialect, clientId).catch(fail);
      return answerStatus(request, target, dialect, clientId);
    } catch (error) {
      return fail(error);
    }
  };

  function failed(
    error: unknown,
    dialect: Dialect,
    clientId: string,
    record: RequestRecord | undefined,
  ): Response {
    log.error("A request could not be handled", { request: clientId, reason: messageOf(error) });
    const failure = relayError(500, "internal_error", "The relay failed to handle the request");
    return record === undefined ? refuse(failure, dialect, clientId) : refused(record, failure, dialect);
  }

  function answerApi(api: ApiRequest): Response | Promise<Response> {
    const { request, target, dialect, record, client } = api;
    const reading = isReading(request);
    const { path } = target;
    const isList = path === "/v1/models" || path === "/api/tags";
    if (!isList && !(path.startsWith("/v1/models/") && reading)) {
      const refusal = options.limits.enter(client, record, dialect);
      return refusal === undefined ? relayRequest(surroundings, api) : refused(record, refusal, dialect);
    }
    const allowed = allowedOf(relay.core.registry.models(), client);
    const response = isList
      ? listOfModels(request, reading, allowed, dialect, record.clientId)
      : oneModel(api, decodePath(path.slice("/v1/models/".length)), allowed);
    record.status = response.status;
    record.settle(response.ok ? "complete" : "refused");
    record.end();
    return response;
  }

  async function answerMetrics(
    request: Request,
    connection: Connection,
    dialect: Dialect,
    clientId: string,
  ): Promise<Response> {
    if (!isReading(request)) return methodNotAllowed(dialect, clientId, ["GET", "HEAD"]);
    // The admin token opens the metrics too: it must not be easier to guess here than where it belongs.
    const address = options.addressOf(request, connection);
    const waitSecs = metricsThrottle.waitSecs(address);
    if (waitSecs > 0) {
      const message = "Too many wrong tokens for metrics came from this address";
      return refuse(relayError(429, "rate_limit_exceeded", message, waitSecs), dialect, clientId);
    }
    const answer = await options.metrics(request);
    if (answer instanceof Response) return answer;
    if (request.headers.has("authorization")) metricsThrottle.failed(address);
    return refuse(answer, dialect, clientId);
  }

  function answerStatus(
    request: Request,
    target: RequestTarget,
    dialect: Dialect,
    clientId: string,
  ): Response {
    const answer = statusOf(target);
    if (answer === undefined) {
      const message = `Nothing is served at "${target.path.slice(0, 200)}": the API is under /v1/, the status at /health`;
      return refuse(relayError(404, "not_found", message), dialect, clientId);
    }
    if (!isReading(request)) return methodNotAllowed(dialect, clientId, ["GET", "HEAD"]);
    return json(request, answer.body, idHeaders(dialect, clientId), answer.status);
  }

  function statusOf({ path, query }: RequestTarget): { body: object; status: number } | undefined {
    switch (path) {
      case "/health":
        return { body: health(relay, clock.now(), options.certificates()), status: 200 };
      case "/livez":
        return {
          body: { status: "ok", proof: options.proof?.answer(query.slice("?challenge=".length)) },
          status: 200,
        };
      case "/readyz": {
        const body = readiness(relay, options.certificates(), clock.wall(), options.warnings());
        return { body, status: body.ready ? 200 : 503 };
      }
      default:
        return undefined;
    }
  }
}

/** Percent signs that stand for no UTF-8 are taken as they are. */
function decodePath(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function listOfModels(
  request: Request,
  reading: boolean,
  models: readonly string[],
  dialect: Dialect,
  clientId: string,
): Response {
  if (!reading) return methodNotAllowed(dialect, clientId, ["GET", "HEAD"]);
  return json(request, modelList(models, dialect), idHeaders(dialect, clientId));
}

/** @param offered those that the client may ask for */
function oneModel(
  { request, dialect, client, record }: ApiRequest,
  id: string,
  offered: readonly string[],
): Response {
  const { clientId } = record;
  if (offered.includes(id)) return json(request, modelEntry(id, dialect), idHeaders(dialect, clientId));
  const error = modelRefusal(client, id) ?? refusalError({ code: "model_not_found", model: id, offered }, id);
  return refuse(error, dialect, clientId);
}

function isReading({ method }: Request): boolean {
  return method === "GET" || method === "HEAD";
}

function isApi(path: string): boolean {
  return path.startsWith("/v1/") || path === "/api/tags" || OLLAMA_PATHS.has(path);
}

function json(request: Request, body: object, ids: Record<string, string>, status = 200): Response {
  const headers = { "content-type": "application/json", "cache-control": "no-store", ...ids };
  return new Response(request.method === "HEAD" ? null : JSON.stringify(body), { status, headers });
}

function refuse(error: ClientError, dialect: Dialect, clientId: string): Response {
  return errorResponse(error, dialect, clientId);
}

function methodNotAllowed(dialect: Dialect, clientId: string, allowed: readonly string[]): Response {
  const response = refuse(
    relayError(405, "method_not_allowed", `The method must be one of ${allowed.join(", ")}`),
    dialect,
    clientId,
  );
  response.headers.set("allow", allowed.join(", "));
  return response;
}
