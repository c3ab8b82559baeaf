import { relayError, type ClientError } from "./client-error.ts";
import type { Client } from "./client.ts";
import type { Refusal } from "./core/types.ts";

/** Why a client may not use a model; `undefined` if it may. @param model empty where a request names none */
export function modelRefusal({ models }: Client, model: string): ClientError | undefined {
  if (models === undefined || models.has(model)) return undefined;
  // What names no model goes to any worker, and so to models that the key is not for.
  const what =
    model === ""
      ? "This API key is for some models only, and the request names none"
      : `This API key may not use model "${model}"`;
  return relayError(403, "model_not_allowed", what);
}

/** A refusal as a client may see it: models that its key is not for are not named to it. */
export function refusalFor(refusal: Refusal, client: Client | undefined): Refusal {
  if (refusal.code !== "model_not_found" || client === undefined) return refusal;
  return { ...refusal, offered: allowedOf(refusal.offered, client) };
}

/** Those of the models that a client may use. */
export function allowedOf(offered: readonly string[], { models }: Client): readonly string[] {
  return models === undefined ? offered : offered.filter((model) => models.has(model));
}
