/** One request as the core knows it, from its arrival until its last byte or its refusal. */
export interface CoreRequest {
  readonly id: string;
  /** Place in the order of first arrival; a requeue keeps it. */
  readonly sequence: number;
  readonly model: string | undefined;
  readonly needs: number;
  readonly arrivedAt: number;
  /** Workers that vanished under it. */
  losses: number;
  /** Time spent in the queue before the present wait, in ms. */
  waitedMs: number;
  state: RequestState;
}

/** A finished request has no state: the core forgets it. */
export type RequestState =
  | { phase: "queued"; since: number }
  | { phase: "running"; workerId: string }
  | { phase: "streaming"; workerId: string };
