import { Problem } from "../../base/errors.ts";
import { hostPort } from "../../base/ip-address.ts";

/** What a proxy in front of a relay has to know. Everything but the names has a default. */
export interface ProxyConfigOptions {
  /** Names that clients use, as `parseDomain` gives them; the first one names the certificate's files. */
  domains: readonly [string, ...string[]];
  /** Where the relay listens for plain HTTP; an address for "all" is reached over loopback. */
  upstream?: { host: string; port: number };
  /** The relay's whole time for a request in ms; 0 = no limit. */
  requestTimeoutMs?: number;
  /** Chain, leaf first. nginx and HAProxy need one; Caddy gets its own unless this is given. */
  certFile?: string;
  keyFile?: string;
  /** HAProxy's one file with chain and key. */
  bundleFile?: string;
  /** Folder below which certbot puts its challenges for nginx. */
  webroot?: string;
}

/** A link lives for as long as its worker; no proxy counts in more than days. */
export const LINK_SECS = 86_400;
/** So that the relay's own time runs out first, and its answer says what happened. */
const SLACK_SECS = 60;
const REQUEST_TIMEOUT_MS = 300_000;

/** The same with every default filled in, fit to stand in a configuration. */
export interface Facts {
  names: string[];
  first: string;
  upstream: string;
  requestSecs: number;
  certFile: string;
  keyFile: string;
  bundleFile: string;
  webroot: string;
}

/** Text that means itself in all three languages, in quotes where it has a space. */
function word(text: string, what: string): string {
  if (/^[\p{L}\p{N}_./:@+,~[\]-]+$/u.test(text)) return text;
  if (/^[\p{L}\p{N}_./:@+,~[\]() -]+$/u.test(text)) return `"${text}"`;
  throw new Problem(`Cannot write ${what} ${JSON.stringify(text)} into a proxy's configuration`, {
    action: "Use a name of letters, digits and common signs, without quotes, dollars, braces or line breaks",
  });
}

function upstreamOf({ host, port }: { host: string; port: number }): string {
  const reached = host === "0.0.0.0" ? "127.0.0.1" : host === "::" || host === "" ? "::1" : host;
  return word(hostPort(reached, port), "the relay's address");
}

/** @throws {Problem} if a value cannot stand in a configuration */
export function factsOf(options: ProxyConfigOptions): Facts {
  const names = options.domains.map((name) => word(name, "the domain"));
  const [first] = options.domains;
  const { requestTimeoutMs = REQUEST_TIMEOUT_MS } = options;
  return {
    names,
    first,
    upstream: upstreamOf(options.upstream ?? { host: "127.0.0.1", port: 8080 }),
    requestSecs: requestTimeoutMs === 0 ? LINK_SECS : Math.ceil(requestTimeoutMs / 1_000) + SLACK_SECS,
    certFile: word(options.certFile ?? `/etc/letsencrypt/live/${first}/fullchain.pem`, "the path"),
    keyFile: word(options.keyFile ?? `/etc/letsencrypt/live/${first}/privkey.pem`, "the path"),
    bundleFile: word(options.bundleFile ?? `/etc/haproxy/certs/${first}.pem`, "the path"),
    webroot: word(options.webroot ?? "/var/www/html", "the path"),
  };
}

/**
 * How the relay behind the proxy is started. On loopback it asks for no key of its own accord, and through
 * the proxy everybody gets there.
 */
export function relayCommand({ upstream }: Facts): string {
  const proxy = upstream.startsWith("[::1]") ? "::1" : "127.0.0.1";
  return `modelrelay serve --listen ${upstream} --trusted-proxy ${proxy} \\
#             --api-key-file /etc/modelrelay/api-key
#         Without a key everybody who finds this name could use the models.`;
}

/** As they stand on the command line. */
export function domainFlags(names: readonly string[]): string {
  return names.map((name) => `--domain ${name}`).join(" ");
}
