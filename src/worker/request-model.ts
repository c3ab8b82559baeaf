import { namedModels } from "../protocol/named-models.ts";
import type { LinkRequest } from "../protocol/messages.ts";
import { formBoundary, formFieldValues } from "./multipart.ts";

/**
 * Whether a request's body names only the model that the relay gave it out for. Else a relay, or a client
 * that the relay did not see through, could run models that this worker does not offer.
 */
export function namesOnlyItsModel({ model, headers, body }: LinkRequest): boolean {
  const boundary = formBoundary(headers["content-type"]);
  const named = boundary === undefined ? namedModels(body) : formFieldValues(body, boundary, "model");
  return named.every((name) => name === model);
}
