import type { Clock } from "../../base/clock.ts";
import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { AttemptThrottle } from "../attempt-throttle.ts";
import type { BodyReader, BodyResult } from "../body.ts";
import type { ByteBudget } from "../byte-budget.ts";
import { relayError, type ClientError } from "../client-error.ts";
import { errorResponse } from "../error-response.ts";
import { bearerOf, type KnownSecret } from "../known-secret.ts";
import type { RequestTarget } from "../request-target.ts";
import { StoreError } from "../store/store-error.ts";
import { AdminRefusal, type AdminAnswer, type AdminDesk } from "./admin-desk.ts";

/** A key with a thousand models fits. */
const MAX_BODY = 512 * 1024;

/** Seconds after which the database may be asked again. */
const RETRY_SECS = 5;

const NO_STORE = { "content-type": "application/json", "cache-control": "no-store" };

export interface AdminApiOptions {
  desk: AdminDesk;
  token: KnownSecret;
  bodies: BodyReader;
  budget: ByteBudget;
  clock: Clock;
  log: Log;
}

/** Whether a path belongs to operators. */
export function isAdmin(path: string): boolean {
  return path === "/admin" || path.startsWith("/admin/");
}

export type AdminApi = (
  request: Request,
  target: RequestTarget,
  address: string,
  requestId: string,
) => Promise<Response>;

/**
 * Lets operators in who show the admin token, and nobody else, whatever they ask for. Web pages are not
 * among them: no answer allows another origin.
 */
export function createAdminApi({ desk, token, bodies, budget, clock, log }: AdminApiOptions): AdminApi {
  const throttle = new AttemptThrottle(clock);

  function refusalOf(request: Request, address: string): ClientError | undefined {
    const waitSecs = throttle.waitSecs(address);
    if (waitSecs > 0)
      return relayError(
        429,
        "rate_limit_exceeded",
        "Too many wrong admin tokens came from this address",
        waitSecs,
      );
    const shown = bearerOf(request.headers.get("authorization"));
    if (shown !== undefined && token.is(shown)) return undefined;
    if (shown !== undefined) throttle.failed(address);
    const what = shown === undefined ? "No admin token was sent" : "The admin token is wrong";
    const how = 'send the relay\'s admin token as "Authorization: Bearer …"';
    return relayError(401, "invalid_admin_token", `${what}: ${how}`);
  }

  async function answer(request: Request, target: RequestTarget): Promise<AdminAnswer> {
    const read = await new Promise<BodyResult>((resolve) =>
      bodies.read(request, request.headers.get("content-length") ?? undefined, MAX_BODY, resolve),
    );
    if (!read.ok) throw new AdminRefusal(read.error.status, read.error.code, read.error.message);
    const text = new TextDecoder().decode(read.bytes);
    budget.give(read.bytes.length);
    return desk.answer(
      request.method,
      target.path,
      new URLSearchParams(target.query),
      text === "" ? undefined : parsed(text),
    );
  }

  return async (request, target, address, requestId) => {
    const refuse = (error: ClientError): Response => {
      const response = errorResponse(error, "openai", requestId);
      response.headers.set("cache-control", "no-store");
      return response;
    };
    const refusal = refusalOf(request, address);
    if (refusal !== undefined) {
      const response = refuse(refusal);
      if (refusal.status === 401) response.headers.set("www-authenticate", "Bearer");
      // Throttled attempts come as fast as anybody likes to send them: the log must not grow with them.
      const level = refusal.status === 429 ? "debug" : "warn";
      log[level]("An operator's request was refused", { address, status: refusal.status, path: target.path });
      return response;
    }
    try {
      const answered = await answer(request, target);
      if (answered instanceof Response) return answered;
      const { status, body } = answered;
      const headers = { ...NO_STORE, "x-request-id": requestId };
      if (body === undefined) return new Response(null, { status, headers: { "x-request-id": requestId } });
      return new Response(JSON.stringify(body), { status, headers });
    } catch (error) {
      if (error instanceof AdminRefusal) {
        const response = refuse(error.error);
        if (error.allowed.length > 0) response.headers.set("allow", error.allowed.join(", "));
        return response;
      }
      if (!(error instanceof StoreError)) throw error;
      log.warn("The database could not do what an operator asked for", { reason: messageOf(error) });
      const message = "The relay's database cannot be reached: nothing was changed, as far as is known";
      return refuse(relayError(503, "database_unavailable", message, RETRY_SECS));
    }
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    throw new AdminRefusal(400, "invalid_request", "The body is not JSON");
  }
}
