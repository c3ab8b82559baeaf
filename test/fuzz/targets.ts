import { fuzzDecoder } from "./decoder-target.ts";
import { fuzzChannel, fuzzRelay, fuzzWorker } from "./link-targets.ts";
import { fuzzResponse } from "./response-target.ts";

/** What any bytes are fed to. Each run depends on its seed alone, and throws if a promise does not hold. */
export const TARGETS = {
  decoder: fuzzDecoder,
  channel: fuzzChannel,
  relay: fuzzRelay,
  worker: fuzzWorker,
  response: fuzzResponse,
} satisfies Record<string, (seed: number) => void>;

export type TargetName = keyof typeof TARGETS;
