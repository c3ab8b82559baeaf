import type { Ports } from "../server/heritage.ts";

// What a `serve` and the one that it has started to take its place say to each other, as JSON over the channel
// that the runtime opens between the two. Both may be of different versions: what is not known is passed over,
// and what is missing counts as absent.
//
//   successor                                   predecessor
//     │ ── hello ────────────────────────────────► │
//     │ ◄───────────────────────────── heritage ── │
//     │     opens the ports
//     │ ── ready ────────────────────────────────► │   accepts nothing new from here on
//     │ ◄───────────────────────────── released ── │   listens no more
//     │ ◄──────────────── the channel is closed ── │   has ended

/** Tells a `serve` that the one that has started it wants to be succeeded. */
export const SUCCESSOR_ENV = "MODELRELAY_SUCCESSOR";

export interface HeritageMessage {
  kind: "heritage";
  ports: Ports;
  models: readonly string[];
  /** How many took the place of another before, this one included. */
  generation: number;
}

export type ToSuccessor = HeritageMessage | { kind: "released" };
export type FromSuccessor = { kind: "hello" } | { kind: "ready" };

export function kindOf(message: unknown): string | undefined {
  const kind = (message as { kind?: unknown } | null)?.kind;
  return typeof kind === "string" ? kind : undefined;
}
