import { LIMIT_FIELD } from "./limits/headers.ts";

/** What a browser may read beside the answer itself, and the fields that tell of limits. */
const EXPOSED = "x-request-id, request-id, x-modelrelay-error, server-timing, retry-after, retry-after-ms";
const METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";
/** Seconds that a browser may keep the answer to a preflight; Chromium's own upper limit. */
const MAX_AGE = "7200";

/** Lets web pages of the configured origins call the API (Fetch Standard §3.2). */
export class CorsPolicy {
  readonly #any: boolean;
  readonly #origins: ReadonlySet<string>;

  constructor(origins: readonly string[]) {
    this.#any = origins.includes("*");
    this.#origins = new Set(origins);
  }

  /** Adds what lets the page that sent this request read the answer. */
  allow(request: Request, response: Response): Response {
    const origin = this.#allowed(request);
    if (origin === undefined) return response;
    response.headers.set("access-control-allow-origin", origin);
    const limits = [...response.headers.keys()].filter((name) => LIMIT_FIELD.test(name));
    response.headers.set("access-control-expose-headers", [EXPOSED, ...limits].join(", "));
    if (origin !== "*") response.headers.append("vary", "Origin");
    return response;
  }

  /** Answers a preflight, or a plain OPTIONS. */
  preflight(request: Request): Response {
    const headers: Record<string, string> = { allow: METHODS };
    if (this.#allowed(request) !== undefined) {
      headers["access-control-allow-methods"] = METHODS;
      headers["access-control-allow-headers"] = request.headers.get("access-control-request-headers") ?? "*";
      headers["access-control-max-age"] = MAX_AGE;
    }
    return this.allow(request, new Response(null, { status: 204, headers }));
  }

  #allowed(request: Request): string | undefined {
    const origin = request.headers.get("origin");
    if (origin === null) return undefined;
    if (this.#any) return "*";
    return this.#origins.has(origin) ? origin : undefined;
  }
}
