/**
 * What a path is counted under. Nobody can add to these: what a client asks for must not become a series of
 * its own.
 */
export const PATH_LABELS: readonly string[] = [
  "/v1/*",
  "/v1/chat/completions",
  "/v1/completions",
  "/v1/responses",
  "/v1/embeddings",
  "/v1/messages",
  "/v1/messages/count_tokens",
  "/v1/models",
  "/v1/models/*",
  "/v1/audio/transcriptions",
  "/v1/audio/translations",
  "/v1/audio/speech",
  "/v1/images/generations",
  "/v1/moderations",
  "/v1/rerank",
  "/v1/responses/*",
  "/api/chat",
  "/api/generate",
  "/api/show",
  "/api/embed",
  "/api/embeddings",
  "/api/tags",
  "/api/version",
  "/api/ps",
];

const BY_PATH = new Map(PATH_LABELS.map((path, index) => [path, index]));
/** The rest of these paths is an id. */
const WITH_ID = ["/v1/models/", "/v1/responses/"];

/** @returns an index into `PATH_LABELS` */
export function pathIndex(path: string): number {
  const known = BY_PATH.get(path);
  if (known !== undefined) return known;
  for (const prefix of WITH_ID) if (path.startsWith(prefix)) return BY_PATH.get(`${prefix}*`) ?? 0;
  return 0;
}

/** Statuses with a series of their own: those of the relay, and those that backends use. */
const STATUSES = new Set([
  200, 201, 202, 204, 206, 301, 302, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 408, 409, 411, 413,
  415, 416, 422, 424, 429, 431, 499, 500, 501, 502, 503, 504, 507, 529,
]);

/** @returns the status, or the first digit of one that has no series of its own */
export function boundedStatus(status: number): number {
  return STATUSES.has(status) ? status : Math.floor(status / 100);
}

/** `200`; `2xx` for what stands for a class. */
export function statusText(bounded: number): string {
  return bounded < 100 ? `${bounded}xx` : String(bounded);
}

/** Of a request that names no model, or was refused before it was looked at. */
export const NO_MODEL = "none";
/** Of models that no worker has offered. */
export const UNKNOWN_MODEL = "unknown";
/** Of what comes when all places are taken. */
export const OTHER = "other";
