import { relayError, type ClientError } from "../client-error.ts";
import { bearerOf, type KnownSecret } from "../known-secret.ts";
import { CONTENT_TYPES, formatFor } from "./exposition.ts";
import type { Metrics } from "./index.ts";

/** Who may read the metrics: they name the models and the workers. */
export interface MetricsAccess {
  /** Nothing is asked for; for a relay that nobody else can reach. */
  open: boolean;
  /** What readers have to show; any one of them. */
  tokens: readonly KnownSecret[];
}

/** Answers `GET /metrics`; an error is the caller's to write. */
export async function metricsResponse(
  metrics: Metrics,
  access: MetricsAccess,
  request: Request,
): Promise<Response | ClientError> {
  if (!access.open && !showsToken(request.headers, access.tokens)) return notAllowed(access);
  const format = formatFor(request.headers.get("accept"));
  const headers = { "content-type": CONTENT_TYPES[format], "cache-control": "no-store" };
  if (request.method === "HEAD") return new Response(null, { headers });
  return new Response(await metrics.text(format), { headers });
}

function notAllowed({ tokens }: MetricsAccess): ClientError {
  return relayError(
    401,
    "invalid_metrics_token",
    tokens.length === 0
      ? "Metrics are read on an address that others can reach with a token alone, and none is set: see --metrics-token"
      : 'Send the token for metrics as "Authorization: Bearer …"',
  );
}

function showsToken(headers: Headers, tokens: readonly KnownSecret[]): boolean {
  const shown = bearerOf(headers.get("authorization"));
  return shown !== undefined && tokens.some((token) => token.is(shown));
}
