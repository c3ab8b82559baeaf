import { MAX_WORKER_NAME, V2_SUBPROTOCOL } from "../protocol/limits.ts";
import { relayError, type ClientError } from "./client-error.ts";
import { errorResponse } from "./error-response.ts";
import type { RequestTarget } from "./request-target.ts";
import type { ShownSecret, WorkerAdmission } from "./worker-admission.ts";

/** Seconds after which a worker may ask again whether its secret is known. */
const RETRY_SECS = 5;

/** What a worker that may connect said of itself in its address. */
export interface WorkerTicket {
  provider: string;
  address: string;
  version: "v1" | "v2";
  /** Stands for the secret that was shown: a session goes on only for whoever shows the same. */
  credential: string;
  /** The secret of the database that was shown; absent for the relay's own. */
  secret?: ShownSecret;
}

/**
 * Looks at a worker's handshake (`GET /v1/worker/connect?provider=…`).
 *
 * @returns the answer that refuses it, or what the session needs
 */
export function admitWorker(
  request: Request,
  target: RequestTarget,
  address: string,
  admission: WorkerAdmission,
  requestId: string,
): Response | WorkerTicket {
  const refuse = (error: ClientError) => errorResponse(error, "openai", requestId);
  const query = new URLSearchParams(target.query);
  if (request.method !== "GET") {
    return refuse(relayError(405, "method_not_allowed", "Workers connect with GET and a WebSocket upgrade"));
  }
  // Before the secret is looked at, so that a proxy which drops the upgrade is known without one.
  if (!asksForUpgrade(request)) return upgradeRequired(requestId);
  // The query is how the oldest workers send the secret; the header is not written into access logs.
  const secret = request.headers.get("x-worker-secret") ?? query.get("worker_secret") ?? undefined;
  const admitted = admission.admit(address, secret);
  switch (admitted.kind) {
    case "throttled":
      return refuse(
        relayError(
          429,
          "rate_limit_exceeded",
          "Too many wrong worker secrets came from this address",
          admitted.retryAfterSecs,
        ),
      );
    case "wrong_secret":
      return refuse(
        relayError(
          401,
          "invalid_worker_secret",
          `The worker secret is ${secret === undefined ? "missing (header X-Worker-Secret)" : "wrong"}`,
        ),
      );
    case "unavailable":
      return refuse(
        relayError(
          503,
          "keys_unavailable",
          "The worker secret cannot be looked up: the relay's database cannot be reached",
          RETRY_SECS,
        ),
      );
    case "admitted":
      break;
  }
  const provider = (query.get("provider") ?? "").trim().slice(0, MAX_WORKER_NAME);
  return {
    provider: provider === "" ? "local" : provider,
    address,
    version: offersV2(request.headers) ? "v2" : "v1",
    credential: admitted.credential,
    ...(admitted.secret !== undefined && { secret: admitted.secret }),
  };
}

/** RFC 6455 §11.3.4: a list, over one field or several. */
function offersV2(headers: Headers): boolean {
  const offered = headers.get("sec-websocket-protocol")?.split(",") ?? [];
  return offered.some((protocol) => protocol.trim() === V2_SUBPROTOCOL);
}

/** Whether a request wants to become a WebSocket. */
export function asksForUpgrade(request: Request): boolean {
  return request.headers.get("upgrade")?.toLowerCase() === "websocket";
}

/** The answer to a request that was to be a WebSocket and is not, or is not any more. */
export function upgradeRequired(requestId: string): Response {
  const error = relayError(
    426,
    "upgrade_required",
    "Workers connect here with a WebSocket; a proxy in between must pass the upgrade on",
  );
  const response = errorResponse(error, "openai", requestId);
  response.headers.set("upgrade", "websocket");
  return response;
}
