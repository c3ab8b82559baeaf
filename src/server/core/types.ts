import type { CancelReason } from "../../protocol/messages.ts";
import type { Priority } from "./priority.ts";

/** What the core is told. Ids of workers and requests are the relay's own and never repeat. */
export type CoreEvent =
  | { type: "worker_joined"; worker: JoiningWorker }
  | { type: "worker_models"; workerId: string; models: readonly string[]; load: number }
  | { type: "worker_load"; workerId: string; load: number }
  | { type: "worker_draining"; workerId: string }
  /** Its connection is lost or back; nothing that it holds is lost meanwhile. */
  | { type: "worker_suspended"; workerId: string }
  | { type: "worker_resumed"; workerId: string }
  | { type: "worker_lost"; workerId: string }
  | { type: "request_arrived"; request: ArrivingRequest }
  | { type: "response_started"; requestId: string }
  | { type: "response_ended"; requestId: string; ok: boolean }
  | { type: "client_gone"; requestId: string; reason: CancelReason }
  | { type: "relay_draining" }
  /** New requests go to another process, and the workers follow; what is here or comes yet is served. */
  | { type: "relay_leaving" }
  /** Workers that offer these are on their way here. */
  | { type: "models_expected"; models: readonly string[] }
  | { type: "tick" };

/** What the shells have to do, in this order. */
export type CoreEffect =
  | { type: "dispatch"; requestId: string; workerId: string }
  | { type: "cancel"; requestId: string; workerId: string; reason: CancelReason }
  | { type: "refuse"; requestId: string; refusal: Refusal };

export interface JoiningWorker {
  id: string;
  name: string;
  provider: string;
  /** As accepted: trimmed, without duplicates, capped. */
  models: readonly string[];
  maxConcurrent: number;
  load: number;
  /** Bits of `NEEDS` that its link can carry. */
  carries: number;
}

export interface ArrivingRequest {
  id: string;
  /** Absent for requests that name none, such as `GET /v1/responses/{id}`: any worker will do. */
  model: string | undefined;
  /** Bits of `NEEDS` that it asks of the link. */
  needs: number;
  /** Shared by all requests that take turns as one with those of others. */
  sender: string;
  priority: Priority;
}

/** Why the relay gives a request up, with what the answer to the client needs. */
export type Refusal =
  | { code: "model_not_found"; model: string | undefined; offered: readonly string[] }
  | { code: "link_cannot_carry"; model: string | undefined; needs: number }
  | { code: "queue_full"; limit: number }
  | { code: "queue_timeout"; waitedMs: number; offered: boolean }
  | { code: "worker_lost"; times: number }
  /** The worker vanished after the first byte: what was sent cannot be taken back or run again. */
  | { code: "stream_lost" }
  | { code: "request_timeout"; afterMs: number }
  | { code: "draining" }
  /** Everybody who could serve it has gone to the process that has the address now. */
  | { code: "moved" };

/** The settings that decisions depend on; all times in ms. */
export interface CoreSettings {
  /** Workers of this provider serve the relay's clients. */
  provider: string;
  maxQueueLength: number;
  queueTimeoutMs: number;
  /** Whole time of a request; 0 = no limit. */
  requestTimeoutMs: number;
}
