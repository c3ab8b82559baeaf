/**
 * What the two ends of the link say to each other, whatever the version on the wire.
 *
 * ```
 * worker                                relay
 *   │ ── Registration ───────────────────► │
 *   │ ◄─────────────────── Acceptance ──── │
 *   │ ◄─────────────────── LinkRequest ─── │   for each request, as many as maxConcurrent at once
 *   │ ── ResponseHead ───────────────────► │   or the end alone, with status and headers in it
 *   │ ── body bytes ─────────────────────► │   any number
 *   │ ── ResponseEnd ────────────────────► │
 * ```
 */

/** Name/value pairs as they crossed, names in lower case. A repeated field is joined with ", ". */
export type HeaderFields = Record<string, string>;

/** Tokens that a request used, as the backend counted them. */
export interface TokenCounts {
  prompt?: number;
  completion?: number;
  total?: number;
}

/** A worker's first words. */
export interface Registration {
  name: string;
  models: string[];
  maxConcurrent: number;
  /** Requests the worker is busy with already, from elsewhere. */
  load: number;
  /** As sent; absent counts as v1. */
  protocolVersion: string | undefined;
  /** Optional abilities beyond the version, see `Feature`. */
  features: Feature[];
}

/** The relay's answer to a registration. */
export interface Acceptance {
  workerId: string;
  /** The models as accepted: the worker serves no other. */
  models: string[];
  warnings: string[];
  features: Feature[];
  /** Where a lost connection can be made good: for how long the relay waits for it. */
  graceMs?: number;
}

/**
 * Abilities that a peer names in `register` and the relay confirms in `register_ack`. A v1 peer in the
 * field names none.
 *
 * - `method`: requests may carry a method other than POST
 * - `head`: the first chunk of a response carries status and headers
 * - `parts`: a request's body may come in several messages
 * - `move`: a worker that is told to drain for a handover serves on until the relay ends the link
 */
export const FEATURES = ["method", "head", "parts", "move"] as const;
export type Feature = (typeof FEATURES)[number];

/**
 * Why a worker is to drain whose relay's address belongs to a successor now: one with the feature `move`
 * dials that at once over a second link. To any other it means what every reason means.
 */
export const HANDOVER = "handover";

/** A client's request on its way to a worker. */
export interface LinkRequest {
  id: string;
  model: string;
  method: string;
  /** Path and query, beginning with `/`. */
  path: string;
  streaming: boolean;
  headers: HeaderFields;
  body: Uint8Array;
}

/** Status and headers of a response, known before its first body byte. */
export interface ResponseHead {
  status: number;
  headers: HeaderFields;
}

/** Why a running request is taken back from a worker. */
export type CancelReason =
  | "client_disconnect"
  | "timeout"
  | "graceful_shutdown"
  | "worker_disconnect"
  | "requeue_exhausted"
  | "server_shutdown"
  | { other: string };

/** A peer broke the rules of the link; the link ends with `closeCode` and the message as reason. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";

  readonly closeCode: number;

  constructor(message: string, closeCode: number) {
    super(message);
    this.closeCode = closeCode;
  }
}
