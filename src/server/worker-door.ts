import type { Log } from "../base/log.ts";
import { V2_SUBPROTOCOL } from "../protocol/limits.ts";
import { newRequestId } from "./api.ts";
import { relayError } from "./client-error.ts";
import type { Connection } from "./connection.ts";
import { errorResponse } from "./error-response.ts";
import type { RequestTarget } from "./request-target.ts";
import type { WorkerAdmission } from "./worker-admission.ts";
import { admitWorker } from "./worker-connect.ts";

export interface WorkerDoorOptions {
  admission: WorkerAdmission;
  /** The worker's address, whatever proxies are in between. */
  addressOf: (request: Request, connection: Connection) => string;
  log: Log;
}

/** Answers `GET /v1/worker/connect`; undefined once the connection is a WebSocket. */
export function createWorkerDoor({ admission, addressOf, log }: WorkerDoorOptions) {
  return (request: Request, target: RequestTarget, connection: Connection): Response | undefined => {
    const requestId = newRequestId();
    const address = addressOf(request, connection);
    const ticket = admitWorker(request, target, address, admission, requestId);
    if (ticket instanceof Response) {
      // Throttled attempts come as fast as anybody likes to send them: the log must not grow with them.
      const level = ticket.status === 429 ? "debug" : "warn";
      log[level]("A worker was refused", { address, status: ticket.status });
      return ticket;
    }
    if (connection.upgrade(ticket, ticket.version === "v2" ? V2_SUBPROTOCOL : undefined)) return undefined;
    const error = relayError(400, "invalid_request", "The WebSocket handshake is incomplete");
    return errorResponse(error, "openai", requestId);
  };
}
