import { DEFAULT_DIMENSIONS } from "./embedding.ts";

/** When the model was "made": any fixed date will do, and a list must not change between two reads. */
const MADE_AT = "2026-01-01T00:00:00Z";

function describeOpenAi(id: string): object {
  return { id, object: "model", created: Date.parse(MADE_AT) / 1_000, owned_by: "modelrelay" };
}

function describeAnthropic(id: string): object {
  return { type: "model", id, display_name: `${id} (demonstration)`, created_at: MADE_AT };
}

function describeOllama(id: string): object {
  const details = {
    parent_model: "",
    format: "none",
    family: "demo",
    families: ["demo"],
    parameter_size: "0",
    quantization_level: "none",
  };
  return { name: id, model: id, modified_at: MADE_AT, size: 0, digest: "", details };
}

/** `GET /v1/models`. Clients of the Anthropic API get its shape. */
export function listModels(ids: readonly string[], anthropic: boolean): Response {
  if (!anthropic) return Response.json({ object: "list", data: ids.map(describeOpenAi) });
  const data = ids.map(describeAnthropic);
  return Response.json({ data, has_more: false, first_id: ids[0] ?? null, last_id: ids.at(-1) ?? null });
}

/** `GET /v1/models/{id}`. */
export function showModel(id: string, anthropic: boolean): Response {
  return Response.json(anthropic ? describeAnthropic(id) : describeOpenAi(id));
}

/** `GET /api/tags`. */
export function listOllamaModels(ids: readonly string[]): Response {
  return Response.json({ models: ids.map(describeOllama) });
}

/** `POST /api/show`. */
export function showOllamaModel(id: string): Response {
  return Response.json({
    ...describeOllama(id),
    modelfile: "",
    parameters: "",
    template: "",
    model_info: { "general.architecture": "demo", "demo.embedding_length": DEFAULT_DIMENSIONS },
    capabilities: ["completion", "tools", "vision", "embedding"],
  });
}
