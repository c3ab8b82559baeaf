/** Paths under which an API is served; what else is relayed is one route, whatever a client calls it. */
const ROUTES: Readonly<Record<string, Operation>> = {
  "/v1/chat/completions": "chat",
  "/v1/completions": "text_completion",
  "/v1/responses": "chat",
  "/v1/embeddings": "embeddings",
  "/v1/messages": "chat",
  "/v1/messages/count_tokens": undefined,
  "/v1/models": undefined,
  "/api/chat": "chat",
  "/api/generate": "text_completion",
  "/api/embed": "embeddings",
  "/api/embeddings": "embeddings",
  "/api/show": undefined,
  "/api/version": undefined,
  "/api/ps": undefined,
  "/api/tags": undefined,
};

/** What a model is asked to do, in the words of OpenTelemetry's conventions (`gen_ai.operation.name`). */
export type Operation = "chat" | "text_completion" | "embeddings" | undefined;

/** @returns the path with its parts that a client chooses left out */
export function routeOf(path: string): string {
  if (Object.hasOwn(ROUTES, path)) return path;
  if (path.startsWith("/v1/models/")) return "/v1/models/{model}";
  return path.startsWith("/v1/") ? "/v1/*" : "/api/*";
}

export function operationOf(path: string): Operation {
  return Object.hasOwn(ROUTES, path) ? ROUTES[path] : undefined;
}
