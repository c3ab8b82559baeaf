import { z } from "zod";
import { AcmeError } from "./error.ts";
import { readBody, readDirectory } from "./directory.ts";
import type { AcmeOptions } from "./types.ts";
import { cleanUrl, explainProblem, readProblem } from "./problem.ts";
import { ariDelayMs, type RenewalInfo } from "../policy.ts";
import { caName, exchange } from "./transport.ts";
import { parseRetryAfter } from "../../base/retry-after.ts";

const replySchema = z.object({
  suggestedWindow: z.object({
    start: z.iso.datetime({ offset: true }),
    end: z.iso.datetime({ offset: true }),
  }),
  explanationURL: z.unknown().optional(),
});

/**
 * Asks the CA when it wants a certificate to be renewed.
 *
 * @param ariId `CertificateFacts.ariId`
 * @returns undefined if the CA offers no renewal information, or has none for this certificate
 * @throws {AcmeError} if it cannot be reached, refuses, or what it says makes no sense
 */
export async function renewalInfo(
  ariId: string,
  options: AcmeOptions,
  signal: AbortSignal,
): Promise<RenewalInfo | undefined> {
  const route = { caPem: options.caPem, clock: options.clock, signal };
  const { renewalInfo: base } = await readDirectory(options.directoryUrl, route);
  if (base === undefined) return undefined;
  const reply = await exchange(`${base.replace(/\/$/, "")}/${ariId}`, { method: "GET" }, route);
  const nowMs = options.clock.wall();
  const asked = parseRetryAfter(reply.headers["retry-after"], nowMs);
  const doing = `get renewal information from ${caName(options.directoryUrl)}`;
  if (reply.status !== 200) {
    const problem = readProblem(readBody(reply.body), reply.status);
    // It does not know the certificate: another CA issued it, or it has long expired.
    if (reply.status === 404 || problem.type === "malformed") return undefined;
    throw explainProblem(problem, { doing, names: [], nowMs, retryAfterMs: asked });
  }
  const parsed = replySchema.safeParse(readBody(reply.body));
  const window = parsed.data?.suggestedWindow;
  const start = Date.parse(window?.start ?? "");
  const end = Date.parse(window?.end ?? "");
  // RFC 9773 §4.2: a window that does not end after it starts is to be treated as if there were none.
  if (!(start < end)) {
    throw new AcmeError(`Cannot ${doing}: the window that it suggests makes no sense`, {
      type: "malformed",
      action: "Nothing: the certificate is renewed by its lifetime instead",
    });
  }
  const explanationUrl = cleanUrl(parsed.data?.explanationURL);
  return {
    start,
    end,
    retryAt: nowMs + ariDelayMs(asked),
    ...(explanationUrl === undefined ? {} : { explanationUrl }),
  };
}
