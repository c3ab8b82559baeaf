import { promisify } from "node:util";
import { gzip } from "node:zlib";
import { version } from "../../base/build-info.ts";
import { errorCode, messageOf } from "../../base/errors.ts";
import { parseRetryAfter } from "../../base/retry-after.ts";

/** Where spans go (https://opentelemetry.io/docs/specs/otlp/#otlphttp). */
export interface Collector {
  /** With the path: the spans are posted right there. */
  url: string;
  /** Fields that every request carries, a key among them perhaps. */
  headers: Readonly<Record<string, string>>;
  gzip: boolean;
}

/** What became of a batch. */
export type Delivery =
  /** @param rejected spans that the collector did not want, and why in its own words */
  | { kind: "taken"; rejected: number; reason: string }
  /** To be sent again; not before the time that the collector named, in ms. */
  | { kind: "later"; reason: string; afterMs: number }
  /** Sending it again would change nothing. */
  | { kind: "refused"; reason: string };

/** The statuses after which the specification allows to send again. */
const RETRYABLE = new Set([429, 502, 503, 504]);

/** Read of an answer: it says at most how many spans were rejected and why. */
const MAX_ANSWER = 64 * 1024;
const MAX_REASON = 200;

const compress = promisify(gzip);

/**
 * Posts one batch.
 *
 * @param wallMs time of day, against which a `Retry-After` is measured
 * @param signal ends it, whatever the collector does
 */
export async function postSpans(
  { url, headers, gzip: zipped }: Collector,
  body: string,
  wallMs: number,
  signal: AbortSignal,
): Promise<Delivery> {
  let response: Response;
  try {
    response = await fetch(url, {
      method: "POST",
      headers: {
        "user-agent": `modelrelay/${version}`,
        ...headers,
        "content-type": "application/json",
        ...(zipped && { "content-encoding": "gzip" }),
      },
      body: zipped ? await compress(body) : body,
      // A key that is meant for one address must not follow to another.
      redirect: "manual",
      signal,
    });
  } catch (error) {
    const reason = signal.aborted ? messageOf(signal.reason) : (errorCode(error) ?? messageOf(error));
    return { kind: "later", reason, afterMs: 0 };
  }
  const text = await beginningOf(response);
  const { status } = response;
  if (response.ok) return { kind: "taken", ...partialSuccess(text) };
  const reason = `HTTP ${status}`;
  if (!RETRYABLE.has(status)) return { kind: "refused", reason };
  return {
    kind: "later",
    reason,
    afterMs: parseRetryAfter(response.headers.get("retry-after"), wallMs) ?? 0,
  };
}

/** What can be had of an answer's text. The status alone decides, so that an answer that breaks off is one as well. */
async function beginningOf({ body }: Response): Promise<string> {
  if (body === null) return "";
  const decoder = new TextDecoder();
  let text = "";
  try {
    // Leaving the loop cancels the rest.
    for await (const part of body) {
      text += decoder.decode(part, { stream: true });
      if (text.length > MAX_ANSWER) break;
    }
  } catch {
    // What came until then has to do.
  }
  return text;
}

/** `{"partialSuccess": {"rejectedSpans": "3", "errorMessage": "…"}}`; anything else says that all were taken. */
function partialSuccess(text: string): { rejected: number; reason: string } {
  try {
    const { partialSuccess: partial } = JSON.parse(text) as {
      partialSuccess?: { rejectedSpans?: unknown; errorMessage?: unknown };
    };
    const rejected = Number(partial?.rejectedSpans ?? 0);
    return {
      rejected: Number.isSafeInteger(rejected) ? rejected : 0,
      reason: typeof partial?.errorMessage === "string" ? partial.errorMessage.slice(0, MAX_REASON) : "",
    };
  } catch {
    return { rejected: 0, reason: "" };
  }
}
