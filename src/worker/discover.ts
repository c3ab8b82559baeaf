import { readModelList } from "./backend-models.ts";

/** An inference server that was found on this machine. */
export interface FoundBackend {
  url: string;
  /** Its name for people, such as `Ollama`. */
  kind: string;
  models: string[];
}

/** Where an inference server listens unless told otherwise. */
export interface Candidate {
  kind: string;
  url: string;
}

const PROBE_TIMEOUT_MS = 1_000;

/** In order of preference. */
const CANDIDATES: readonly Candidate[] = [
  { kind: "Ollama", url: "http://127.0.0.1:11434" },
  { kind: "vLLM or llama-cpp-python", url: "http://127.0.0.1:8000" },
  { kind: "LM Studio", url: "http://127.0.0.1:1234" },
  { kind: "llama.cpp", url: "http://127.0.0.1:8081" },
  { kind: "llama.cpp", url: "http://127.0.0.1:8080" },
];

/** Looks for an inference server on this machine, at all usual places at once; one second at most. */
export async function findBackend(
  candidates: readonly Candidate[] = CANDIDATES,
): Promise<FoundBackend | undefined> {
  const found = await Promise.all(candidates.map(probe));
  return found.find((backend) => backend !== undefined);
}

/** What was found, as a sentence for people. */
export function describeBackend(found: FoundBackend | undefined): string {
  if (found === undefined) {
    return "No inference server found on this machine (looked for Ollama 11434, vLLM 8000, LM Studio 1234, llama.cpp 8081 and 8080)";
  }
  const { length } = found.models;
  const shown = found.models.slice(0, 5).join(", ");
  const models = length === 0 ? "no models yet" : `${shown}${length > 5 ? `, and ${length - 5} more` : ""}`;
  return `Found ${found.kind} at ${found.url}: ${models}`;
}

async function probe(candidate: Candidate): Promise<FoundBackend | undefined> {
  const signal = AbortSignal.timeout(PROBE_TIMEOUT_MS);
  // A relay speaks the same API; a worker that served it to itself would go in circles.
  const [models, relay] = await Promise.all([
    modelsAt(candidate.url, signal),
    isRelay(candidate.url, signal),
  ]);
  return models === undefined || relay ? undefined : { ...candidate, models };
}

async function modelsAt(url: string, signal: AbortSignal): Promise<string[] | undefined> {
  const listed = await getText(`${url}/v1/models`, signal);
  const models = listed === undefined ? undefined : readModelList(listed);
  if (models !== undefined) return models;
  const tags = await getText(`${url}/api/tags`, signal);
  return tags === undefined ? undefined : readModelList(tags);
}

async function isRelay(url: string, signal: AbortSignal): Promise<boolean> {
  const health = await getText(`${url}/health`, signal);
  return health?.includes('"workers_connected"') === true;
}

async function getText(url: string, signal: AbortSignal): Promise<string | undefined> {
  try {
    const response = await fetch(url, { proxy: false, redirect: "manual", signal });
    const text = await response.text();
    return response.ok ? text : undefined;
  } catch {
    // Nothing listens there, or something that is no inference server.
    return undefined;
  }
}
