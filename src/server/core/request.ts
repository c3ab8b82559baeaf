import type { Priority } from "./priority.ts";
import type { ArrivingRequest } from "./types.ts";

/** One request as the core knows it, from its arrival until its last byte or its refusal. */
export interface CoreRequest {
  readonly id: string;
  readonly sender: string;
  readonly priority: Priority;
  /** Place in the order of first arrival; a requeue keeps it. */
  readonly sequence: number;
  /** Its sender's place in the round when it arrived or was last taken, to which a requeue goes back. */
  turn: number;
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

/** @param sequence its place in the order of arrivals */
export function newRequest(arriving: ArrivingRequest, sequence: number, now: number): CoreRequest {
  // Written out: copied as a whole it takes several times as long, and each request is.
  const { id, model, needs, sender, priority } = arriving;
  return {
    id,
    sender,
    priority,
    sequence,
    turn: sequence,
    model,
    needs,
    arrivedAt: now,
    losses: 0,
    waitedMs: 0,
    state: { phase: "queued", since: now },
  };
}
