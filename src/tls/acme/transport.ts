import type { Clock } from "../../base/clock.ts";
import { errorCode, messageOf, Problem } from "../../base/errors.ts";
import { oneLine } from "../../base/one-line.ts";
import { certificateBlocks } from "../../base/pem.ts";
import { describeTlsFailure } from "../../base/tls-failure.ts";
import { AcmeError } from "./error.ts";

/** Let's Encrypt answers in well under a second, and in ten at its worst. */
const REQUEST_MS = 30_000;
/** A chain of certificates has some 10 KB; what is longer is no answer of a CA. */
const MAX_REPLY_BYTES = 1024 * 1024;

/** Directories of some CAs have moved; none has moved often. */
const MAX_REDIRECTS = 5;
const REDIRECTS = new Set([301, 302, 303, 307, 308]);

/** How to get to a CA. */
export interface Route {
  /** Certificates (PEM) that alone are trusted for the CA's own HTTPS, instead of the system's. */
  caPem?: string | undefined;
  clock: Clock;
  /** Gives up with its reason. */
  signal: AbortSignal;
}

export interface Request {
  method: string;
  headers?: Record<string, string>;
  body?: string | undefined;
}

/** Header names in lower case. */
export interface Reply {
  status: number;
  headers: Record<string, string>;
  body: string;
}

/** `https://host:port`'s host and port, for people. */
export function caName(url: string): string {
  return URL.canParse(url) ? new URL(url).host : url;
}

/**
 * Sends one request to a CA and reads the whole answer, whatever its status. Ends within half a minute,
 * and within a moment once the signal is aborted. The proxy variables of the environment are respected.
 *
 * @throws {AcmeError} `unreachable`, `untrusted` or `timeout`
 * @throws the signal's reason
 */
export async function exchange(url: string, request: Request, route: Route): Promise<Reply> {
  route.signal.throwIfAborted();
  if (!URL.canParse(url) || new URL(url).protocol !== "https:") {
    throw new AcmeError(`Cannot ask the CA at "${url}": its address has to begin with https://`, {
      type: "notAcme",
      action: "Give the https:// address of the CA's directory with --acme-directory",
      permanent: true,
    });
  }
  checkTrust(route.caPem);
  const stop = new AbortController();
  const late = Promise.withResolvers<never>();
  const giveUp = (reason: unknown) => {
    late.reject(reason);
    stop.abort(reason);
  };
  const onAbort = () => giveUp(route.signal.reason);
  route.signal.addEventListener("abort", onAbort);
  const timer = route.clock.after(REQUEST_MS, () => giveUp(tooLate(url)));
  try {
    // The race is for a runtime that does not let go of a connection at once.
    return await Promise.race([send(url, request, route.caPem, stop.signal), late.promise]);
  } catch (error) {
    if (stop.signal.aborted) throw stop.signal.reason;
    if (error instanceof Problem) throw error;
    throw unreachable(url, error);
  } finally {
    timer.cancel();
    route.signal.removeEventListener("abort", onAbort);
    late.promise.catch(() => {});
  }
}

async function send(
  url: string,
  { method, headers, body }: Request,
  caPem: string | undefined,
  signal: AbortSignal,
): Promise<Reply> {
  const ask = (address: string): Promise<Response> =>
    fetch(address, {
      method,
      signal,
      redirect: "manual",
      ...(headers === undefined ? {} : { headers }),
      ...(body === undefined ? {} : { body }),
      // Said each time: without it, NODE_TLS_REJECT_UNAUTHORIZED=0 would decide.
      tls: { rejectUnauthorized: true, ...(caPem === undefined ? {} : { ca: caPem }) },
    });
  let response = await ask(url);
  // A signed request names its own URL, so that it cannot be sent to another one.
  if (method !== "GET") return readReply(url, response);
  for (let at = url, left = MAX_REDIRECTS; REDIRECTS.has(response.status); left--) {
    const location = response.headers.get("location") ?? "";
    void response.body?.cancel();
    at = left > 0 && URL.canParse(location, at) ? new URL(location, at).href : "";
    // What came over plain HTTP could be anybody's, and asking there shows an address behind the firewall.
    if (!at.startsWith("https://")) throw strayRedirect(url, location, left);
    response = await ask(at);
  }
  return readReply(url, response);
}

async function readReply(url: string, response: Response): Promise<Reply> {
  const decoder = new TextDecoder();
  let text = "";
  let bytes = 0;
  for await (const chunk of response.body ?? []) {
    bytes += chunk.byteLength;
    if (bytes > MAX_REPLY_BYTES) {
      throw new AcmeError(`Cannot read the answer of ${caName(url)}: it is longer than 1 MiB`, {
        type: "notAcme",
        action: "Check that --acme-directory names a CA that speaks ACME (RFC 8555)",
      });
    }
    text += decoder.decode(chunk, { stream: true });
  }
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: text + decoder.decode(),
  };
}

function strayRedirect(url: string, location: string, left: number): AcmeError {
  const why = left > 0 ? `to "${oneLine(location, 100)}", which is no https:// address` : "round and round";
  return new AcmeError(`Cannot ask the CA at ${caName(url)}: it redirects ${why}`, {
    type: "notAcme",
    action: "Give the address of the CA's directory itself with --acme-directory",
    permanent: true,
  });
}

/** The runtime takes anything for certificates, and then says that it cannot connect. */
function checkTrust(caPem: string | undefined): void {
  if (caPem === undefined || certificateBlocks(caPem).length > 0) return;
  throw new Problem("Cannot use the certificates for the CA's own HTTPS: there is none in the file", {
    action: "Give a PEM file that begins with -----BEGIN CERTIFICATE----- with --acme-ca-file",
  });
}

function tooLate(url: string): AcmeError {
  return new AcmeError(`Cannot reach the CA at ${caName(url)}: no answer after ${REQUEST_MS / 1_000} s`, {
    type: "timeout",
    action:
      "Nothing: it is tried again; if it stays so, see the CA's status page, and the firewall for what goes out",
  });
}

function unreachable(url: string, error: unknown): AcmeError {
  const host = caName(url);
  const code = errorCode(error) ?? "";
  const tls = describeTlsFailure(code, URL.canParse(url) ? new URL(url).hostname : host);
  if (tls !== undefined) {
    return new AcmeError(`Cannot trust the CA at ${host}: ${tls.message}`, {
      type: "untrusted",
      action:
        "If the CA is your own, give the certificate of its root with --acme-ca-file; else look at this machine's clock and its trusted certificates (package ca-certificates)",
      cause: error,
    });
  }
  const why =
    code === "ECONNREFUSED"
      ? "the connection was refused"
      : code === "ENOTFOUND" || code === "EAI_AGAIN"
        ? "its name could not be looked up"
        : messageOf(error);
  return new AcmeError(`Cannot reach the CA at ${host}: ${why}`, {
    type: "unreachable",
    action: "Check that this machine reaches the internet, and that --acme-directory is right",
    cause: error,
  });
}
