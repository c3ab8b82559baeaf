import type { Job } from "./job.ts";

/** A job without the subject's address. */
export type JobPlan = Job extends infer J ? (J extends Job ? Omit<J, "baseUrl"> : never) : never;

export interface Scenario {
  readonly name: string;
  /** One line for the report. */
  readonly what: string;
  /** How often every subject is measured. */
  readonly rounds: number;
  readonly plan: JobPlan;
  /** What makes the code hot that it runs. */
  readonly heat: JobPlan;
}

const SMALL = { requestBytes: 300, responseBytes: 64 };
const MEGABYTE = 1_000_000;

/** Durations of one cell (one subject in one round), in ms. */
interface Pace {
  rounds: number;
  requestsMs: number;
  flatMs: number;
  pacedMs: number;
  bodiesMs: number;
  /** Of the load that is not measured. */
  heatMs: number;
}

const FULL: Pace = {
  rounds: 5,
  requestsMs: 2_000,
  flatMs: 1_500,
  pacedMs: 3_000,
  bodiesMs: 1_500,
  heatMs: 8_000,
};
const QUICK: Pace = { rounds: 2, requestsMs: 700, flatMs: 700, pacedMs: 1_000, bodiesMs: 500, heatMs: 1_500 };

/** All scenarios in the order they run. @param quick fewer rounds and shorter windows */
export function allScenarios(quick: boolean, rounds?: number): Scenario[] {
  const pace = { ...(quick ? QUICK : FULL), ...(rounds === undefined ? {} : { rounds }) };
  const warmupMs = quick ? 150 : 300;
  const requests = { kind: "requests", warmupMs, durationMs: pace.requestsMs, ...SMALL } as const;
  const flat = {
    kind: "streams",
    warmupMs,
    durationMs: pace.flatMs,
    connections: 8,
    intervalMs: 0,
    rampMs: 0,
  } as const;
  const paced = {
    kind: "streams",
    warmupMs,
    durationMs: pace.pacedMs,
    intervalMs: 50,
    burst: 1,
    tokens: 0,
  } as const;
  const bodies = { kind: "requests", warmupMs, durationMs: pace.bodiesMs, connections: 4 } as const;
  const heats: Record<JobPlan["kind"], JobPlan> = {
    requests: { ...requests, connections: 64, durationMs: pace.heatMs },
    streams: { ...flat, tokens: 2_000, burst: 1, durationMs: pace.heatMs },
  };
  const plans: [name: string, what: string, plan: JobPlan][] = [
    ["latency", "one small chat request at a time, not streamed", { ...requests, connections: 1 }],
    ["rps", "small chat requests, 64 at once, not streamed", { ...requests, connections: 64 }],
    ["flat", "8 streams flat out, each token written by itself", { ...flat, tokens: 2_000, burst: 1 }],
    ["bulk", "8 streams flat out, 16 tokens written together", { ...flat, tokens: 16_000, burst: 16 }],
    ["paced-100", "100 streams, a token each 50 ms", { ...paced, connections: 100, rampMs: 300 }],
    ["paced-1000", "1,000 streams, a token each 50 ms", { ...paced, connections: 1_000, rampMs: 1_000 }],
    ["upload", "requests of 1 MB, 4 at once", { ...bodies, requestBytes: MEGABYTE, responseBytes: 64 }],
    ["download", "answers of 1 MB, 4 at once", { ...bodies, requestBytes: 300, responseBytes: MEGABYTE }],
  ];
  return plans.map(([name, what, plan]) => ({
    name,
    what,
    rounds: pace.rounds,
    plan,
    heat: heats[plan.kind],
  }));
}
