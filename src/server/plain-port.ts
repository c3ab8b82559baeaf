import { messageOf } from "../base/errors.ts";
import { silentLog, type Log } from "../base/log.ts";
import { coversName } from "../tls/certificate.ts";
import { requestTarget } from "./request-target.ts";

/** All but `challenge` are read at each request: ports and names can change while the port is open. */
export interface PlainPortOptions {
  /** The key authorization for an ACME token (RFC 8555 §8.3), `undefined` if none is expected. */
  challenge: (token: string) => Promise<string | undefined>;
  readonly httpsPort: number;
  /** Names and addresses that the HTTPS port answers for, `*.example.com` among them; the first is the main one. */
  readonly domains: readonly string[];
  log?: Log;
}

const CHALLENGE_PATH = "/.well-known/acme-challenge/";

/** RFC 8555 §8.3: base64url. Tokens have 22 characters and more; no CA is known for over 128. */
const TOKEN = /^[A-Za-z0-9_-]{1,128}$/;

/** What may stand in a `Location`; a query is not looked at before. */
const PRINTABLE = /^[\x21-\x7e]*$/;

/**
 * Answers on the plain HTTP port beside HTTPS: the CA's questions about domains, and 308 to the same
 * path on HTTPS for everything else. Each answer ends its connection, and no body is read: nobody has
 * a reason to stay.
 *
 * The redirect goes to one of our own names, whatever the `Host` and the request line say: a name that
 * is not ours, an address and no name at all get the first. Strict-Transport-Security is not sent: over
 * plain HTTP it means nothing (RFC 6797 §7.2).
 */
export function createPlainPort(options: PlainPortOptions): (request: Request) => Promise<Response> {
  return async (request) => {
    const target = requestTarget(request.url);
    if (target === undefined || !PRINTABLE.test(target.query))
      return text(400, "The request's path is malformed");
    if (target.path.startsWith(CHALLENGE_PATH))
      return answerChallenge(request, target.path.slice(CHALLENGE_PATH.length), options);
    const origin = originFor(request.headers.get("host"), options);
    if (origin === undefined) return text(400, `Only HTTPS is served here, on port ${options.httpsPort}`);
    const worker = request.headers.get("upgrade")?.toLowerCase() === "websocket";
    // Clients of WebSockets follow no redirect: whoever reads their log has to be told.
    return text(308, worker ? `Use HTTPS: PROXY_URL=${origin}` : `Use HTTPS: ${origin}`, {
      location: origin + target.path + target.query,
    });
  };
}

async function answerChallenge(
  request: Request,
  token: string,
  { challenge, log = silentLog }: PlainPortOptions,
): Promise<Response> {
  if (request.method !== "GET" && request.method !== "HEAD")
    return text(405, "Challenges are read with GET", { allow: "GET, HEAD" });
  if (!TOKEN.test(token)) return text(404, "This is no token of an ACME challenge");
  try {
    const answer = await challenge(token);
    if (answer === undefined)
      return text(404, "No certificate is being ordered with this token: modelrelay answers here");
    return new Response(answer, { headers: { ...COMMON, "content-type": "application/octet-stream" } });
  } catch (error) {
    log.error("A challenge could not be read", { reason: messageOf(error) });
    return text(500, "The answer to this challenge could not be read");
  }
}

/** `https://name[:port]` with one of our own names, `undefined` if there is none. */
function originFor(host: string | null, { domains, httpsPort }: PlainPortOptions): string | undefined {
  const asked = hostName(host ?? "");
  const name = coversName(domains, asked) ? asked : domains.find((domain) => !domain.startsWith("*."));
  if (name === undefined) return undefined;
  const authority = name.includes(":") ? `[${name}]` : name;
  return `https://${authority}${httpsPort === 443 ? "" : `:${httpsPort}`}`;
}

/** A `Host` without its port, brackets and final dot, in lower case; empty for what is no host. */
function hostName(host: string): string {
  const [, ipv6, name = ""] =
    /^(?:\[([0-9a-f:.]{2,45})\]|([a-z0-9._-]{1,254}))(?::\d{0,5})?$/i.exec(host) ?? [];
  return (ipv6 ?? name.replace(/\.$/, "")).toLowerCase();
}

/** A cached redirect would outlive the certificate's end, and a machine that goes back to plain HTTP. */
const COMMON = { connection: "close", "cache-control": "no-store", "x-content-type-options": "nosniff" };

function text(status: number, message: string, more: Record<string, string> = {}): Response {
  const headers = { ...COMMON, "content-type": "text/plain; charset=utf-8", ...more };
  return new Response(`${message}\n`, { status, headers });
}
