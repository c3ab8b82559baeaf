import type { Dialect } from "../protocol/dialect.ts";

/** Seconds since the epoch that a model is said to be made at: no backend behind a relay agrees on one. */
const CREATED = 0;

/** The models that can be asked for, in the shape of the dialect's list call. */
export function modelList(models: readonly string[], dialect: Dialect): object {
  if (dialect === "ollama") return { models: models.map(ollamaModel) };
  if (dialect === "anthropic") {
    return {
      data: models.map(anthropicModel),
      has_more: false,
      first_id: models[0] ?? null,
      last_id: models.at(-1) ?? null,
    };
  }
  return { object: "list", data: models.map(openaiModel) };
}

/** One model in the shape of the dialect's retrieve call. */
export function modelEntry(model: string, dialect: Dialect): object {
  return dialect === "anthropic" ? anthropicModel(model) : openaiModel(model);
}

function openaiModel(id: string): object {
  return { id, object: "model", created: CREATED, owned_by: "modelrelay" };
}

function anthropicModel(id: string): object {
  return { type: "model", id, display_name: id, created_at: new Date(CREATED).toISOString() };
}

function ollamaModel(name: string): object {
  const details = {
    parent_model: "",
    format: "",
    family: "",
    families: [],
    parameter_size: "",
    quantization_level: "",
  };
  return { name, model: name, modified_at: new Date(CREATED).toISOString(), size: 0, digest: "", details };
}
