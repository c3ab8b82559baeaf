import { SAMPLED, type TraceParent } from "./trace-context.ts";

export const SAMPLERS = [
  "always_on",
  "always_off",
  "traceidratio",
  "parentbased_always_on",
  "parentbased_always_off",
  "parentbased_traceidratio",
] as const;
/** The names that OpenTelemetry gives them. `parentbased_…` decides only where the client has not. */
export type SamplerName = (typeof SAMPLERS)[number];

/** Decides whether the spans of a trace are kept. */
export type Sampler = (traceId: string, parent: TraceParent | undefined) => boolean;

/** Hexadecimal digits of an id that a ratio looks at: 52 bits, what a number holds exactly. */
const DIGITS = 13;

/** @param ratio of the traces that `…traceidratio` keeps, from 0 to 1 */
export function createSampler(name: SamplerName, ratio: number): Sampler {
  const root = rootSampler(name.replace("parentbased_", ""), ratio);
  if (!name.startsWith("parentbased_")) return root;
  return (traceId, parent) => (parent === undefined ? root(traceId, parent) : (parent.flags & SAMPLED) !== 0);
}

function rootSampler(name: string, ratio: number): Sampler {
  if (name === "always_on") return () => true;
  if (name === "always_off") return () => false;
  // The end of an id is what has to be random; all who keep a share of one trace then keep the same traces.
  const least = (1 - ratio) * 16 ** DIGITS;
  return (traceId) => Number.parseInt(traceId.slice(-DIGITS), 16) >= least;
}
