import { Problem } from "../base/errors.ts";
import { backendAddress, normalizeBackendUrl, shownUrl } from "./backend.ts";
import { describeNetworkError } from "../base/network-error.ts";

/** What a look at a backend showed. */
export type BackendReport =
  /** It answers; `models` is `undefined` if it has no list of them. */
  { up: true; models: string[] | undefined } | { up: false; problem: Problem };

const LIST_TIMEOUT_MS = 5_000;

/** Asks a backend for its models: OpenAI's `/v1/models`, or else Ollama's `/api/tags`. Never rejects. */
export async function listModels(
  backendUrl: string,
  apiKey?: string,
  timeoutMs = LIST_TIMEOUT_MS,
): Promise<BackendReport> {
  const base = normalizeBackendUrl(backendUrl);
  const first = await ask(base, "/v1/models", apiKey, timeoutMs);
  if (!first.up || first.models !== undefined) return first;
  const second = await ask(base, "/api/tags", apiKey, timeoutMs);
  return second.up ? second : first;
}

async function ask(
  base: string,
  path: string,
  apiKey: string | undefined,
  timeoutMs: number,
): Promise<BackendReport> {
  const address = backendAddress(base, path);
  if (address === undefined) {
    return { up: false, problem: new Problem(`Cannot use the backend address "${shownUrl(base)}"`) };
  }
  const abort = AbortSignal.timeout(timeoutMs);
  try {
    const response = await fetch(address, {
      headers: {
        "accept-encoding": "identity",
        ...(apiKey !== undefined && { authorization: `Bearer ${apiKey}` }),
      },
      redirect: "manual",
      proxy: false,
      signal: abort,
    });
    const text = await response.text();
    if (response.ok) return { up: true, models: readModelList(text) };
    const refusal = refusalOf(shownUrl(base), response.status);
    return refusal === undefined ? { up: true, models: undefined } : { up: false, problem: refusal };
  } catch (error) {
    const why = abort.aborted ? `no answer within ${timeoutMs / 1_000} s` : describeNetworkError(error);
    return {
      up: false,
      problem: new Problem(`Cannot reach the backend at ${shownUrl(base)}: ${why}`, {
        action: "Start the inference server, or name its address with --backend-url",
        cause: error,
      }),
    };
  }
}

/** Statuses that say "not now" or "not you"; others, such as 404, come from a server that is up. */
function refusalOf(base: string, status: number): Problem | undefined {
  if (status === 401 || status === 403) {
    return new Problem(`The backend at ${base} refuses its list of models (HTTP ${status})`, {
      action: "Give the worker the backend's key with --backend-api-key",
    });
  }
  if (status < 500 || status === 501) return undefined;
  return new Problem(`The backend at ${base} is not ready (HTTP ${status})`, {
    action: "Wait until it has loaded its model, or look into its log",
  });
}

/** Reads `{data: [{id}]}` (OpenAI) or `{models: [{name}]}` (Ollama); `undefined` if it is neither. */
export function readModelList(text: string): string[] | undefined {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof parsed !== "object" || parsed === null) return undefined;
  const { data, models } = parsed as { data?: unknown; models?: unknown };
  const list = Array.isArray(data) ? data : Array.isArray(models) ? models : undefined;
  if (list === undefined) return undefined;
  const names = new Set<string>();
  for (const entry of list as unknown[]) {
    if (typeof entry !== "object" || entry === null) continue;
    const { id, name, model } = entry as Record<string, unknown>;
    const found = [id, name, model].find((value) => typeof value === "string" && value.trim() !== "");
    if (typeof found === "string") names.add(found);
  }
  return [...names];
}
