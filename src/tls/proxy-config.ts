import { Problem } from "../base/errors.ts";

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

/** Where certbot answers challenges that HAProxy passes on. */
export const CERTBOT_PORT = 8402;

/** A link lives for as long as its worker; no proxy counts in more than days. */
const LINK_SECS = 86_400;
/** So that the relay's own time runs out first, and its answer says what happened. */
const SLACK_SECS = 60;
const REQUEST_TIMEOUT_MS = 300_000;

/** ECDHE with AEAD only: what all clients since 2014 speak (Mozilla's "intermediate" without DHE). */
const CIPHERS = [
  "ECDHE-ECDSA-AES128-GCM-SHA256",
  "ECDHE-RSA-AES128-GCM-SHA256",
  "ECDHE-ECDSA-AES256-GCM-SHA384",
  "ECDHE-RSA-AES256-GCM-SHA384",
  "ECDHE-ECDSA-CHACHA20-POLY1305",
  "ECDHE-RSA-CHACHA20-POLY1305",
].join(":");

interface Facts {
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
  return word(reached.includes(":") ? `[${reached}]:${port}` : `${reached}:${port}`, "the relay's address");
}

/** @throws {Problem} if a value cannot stand in a configuration */
function factsOf(options: ProxyConfigOptions): Facts {
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
function relayCommand({ upstream }: Facts): string {
  const proxy = upstream.startsWith("[::1]") ? "::1" : "127.0.0.1";
  return `modelrelay serve --listen ${upstream} --trusted-proxy ${proxy} \\
#             --api-key-file /etc/modelrelay/api-key
#         Without a key everybody who finds this name could use the models.`;
}

function domainFlags(names: readonly string[]): string {
  return names.map((name) => `--domain ${name}`).join(" ");
}

/**
 * A file for the `http` block of nginx 1.22 or newer (`/etc/nginx/conf.d/modelrelay.conf`).
 *
 * @throws {Problem} if a name or path cannot stand in it
 */
export function nginxConfig(options: ProxyConfigOptions): string {
  const facts = factsOf(options);
  const names = facts.names.join(" ");
  // nginx drops the headers that stand further out as soon as a block sets one of its own.
  const headers = (indent: string, connection: string): string =>
    [
      "Host $host",
      "X-Forwarded-For $remote_addr",
      "X-Forwarded-Proto $scheme",
      'Forwarded ""',
      ...(connection === "upgrade" ? ["Upgrade $http_upgrade", 'Connection "upgrade"'] : ['Connection ""']),
    ]
      .map((header) => `${indent}proxy_set_header ${header};`)
      .join("\n");

  return `# nginx in front of modelrelay. Printed by: modelrelay tls nginx ${domainFlags(facts.names)}
#
# File:   /etc/nginx/conf.d/modelrelay.conf
# Apply:  nginx -t && systemctl reload nginx
# Relay:  ${relayCommand(facts)}

upstream modelrelay {
    server ${facts.upstream};
    keepalive 64;
    # The relay closes an idle connection after 30 s. Leaving it sooner keeps a request from being sent
    # into one that is just closing.
    keepalive_timeout 20s;
}

# Plain HTTP: certbot's challenges, and a redirect for the rest. 308 keeps method, path and query.
server {
    listen 80;
    listen [::]:80;
    server_name ${names};

    location ^~ /.well-known/acme-challenge/ {
        root ${facts.webroot};
        default_type text/plain;
        try_files $uri =404;
    }
    location / {
        return 308 https://$host$request_uri;
    }
}

server {
    # HTTP/2 is asked for in this place because nginx 1.22 knows no other. Since 1.25.1 nginx prefers the
    # directive "http2 on;", warns once when it starts, and takes this all the same.
    listen 443 ssl http2;
    listen [::]:443 ssl http2;
    server_name ${names};

    ssl_certificate ${facts.certFile};
    ssl_certificate_key ${facts.keyFile};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ciphers ${CIPHERS};
    ssl_prefer_server_ciphers off;
    ssl_session_cache shared:modelrelay:10m;
    ssl_session_timeout 1d;
    ssl_session_tickets off;

    # Tells browsers never to come by plain HTTP again. Take it in when https has worked for a while.
    # add_header Strict-Transport-Security "max-age=31536000" always;

    # nginx's own limit is 1 MiB, too small for a long chat or a picture. The relay has a limit (--max-body)
    # and its refusal says which, in the form that SDKs expect.
    client_max_body_size 0;

    # No answer is held back anywhere: a token has to leave when it comes. That goes for /v1/, for Ollama's
    # /api/ and for the event streams of the console alike; holding back the rest would gain nothing.
    proxy_buffering off;
    proxy_cache off;
    gzip off;
    # Nor is a request: the relay reads it as it comes, and nothing is written to nginx's disk.
    proxy_request_buffering off;
    # An answer's head has to fit into one of these (nginx's own size is 4 KiB).
    proxy_buffer_size 16k;
    proxy_buffers 8 16k;

    # A model can be silent for minutes before its first word, and a client can be slow to read. This is the
    # relay's --request-timeout and a minute more, so that the relay gives up first and says why.
    proxy_connect_timeout 5s;
    proxy_read_timeout ${facts.requestSecs}s;
    proxy_send_timeout ${facts.requestSecs}s;
    client_body_timeout ${facts.requestSecs}s;
    send_timeout ${facts.requestSecs}s;

    # Set, never appended to: the relay believes what stands here, so nothing of it may be the client's.
    proxy_http_version 1.1;
${headers("    ", "keep")}

    # Workers hold a WebSocket here for as long as they live; it needs HTTP/1.1, the two upgrade headers and
    # a long timeout. Headers that stand above do not count in a block with its own, so all are here again.
    # At /v1/worker/connect/check "modelrelay tls check" tries whether all that holds.
    location /v1/worker/connect {
        proxy_pass http://modelrelay;
${headers("        ", "upgrade")}
        proxy_read_timeout ${LINK_SECS}s;
        proxy_send_timeout ${LINK_SECS}s;
        send_timeout ${LINK_SECS}s;
    }
    location / {
        proxy_pass http://modelrelay;
    }
}
`;
}

/**
 * A whole Caddyfile, or one more site of one, for Caddy 2.6 or newer.
 *
 * @throws {Problem} if a name or path cannot stand in it
 */
export function caddyConfig(options: ProxyConfigOptions): string {
  const facts = factsOf(options);
  const own = options.certFile !== undefined || options.keyFile !== undefined;
  const tls = `tls ${facts.certFile} ${facts.keyFile}`;
  const certificate = own
    ? `	# Read when Caddy starts or reloads: after a renewal, systemctl reload caddy --force.
	${tls}`
    : `	# Caddy gets the certificate and renews it, answers the challenges on port 80 and redirects the rest of
	# that port with 308 to the same path. With a certificate of your own instead:
	# ${tls}`;
  return `# Caddy in front of modelrelay. Printed by: modelrelay tls caddy ${domainFlags(facts.names)}
#
# File:   /etc/caddy/Caddyfile
# Apply:  caddy validate --config /etc/caddy/Caddyfile && systemctl reload caddy
# Relay:  ${relayCommand(facts)}

${facts.names.join(", ")} {
${certificate}

	# Tells browsers never to come by plain HTTP again. Take it in when https has worked for a while.
	# header Strict-Transport-Security "max-age=31536000"

	reverse_proxy ${facts.upstream} {
		# Caddy passes a stream on as it comes, without being told: event streams, and all else that has no
		# length. Do not add "flush_interval -1": Caddy then leaves a request running whose client has left,
		# and the model works for nobody. It has no limit for bodies and no time limit either: the relay has
		# both, and says which. X-Forwarded-For and -Proto are Caddy's own here, the client's are dropped.
		header_up -Forwarded

		# A worker's WebSocket needs no setting. From Caddy 2.7 on this line keeps the links through a reload:
		# stream_close_delay 24h

		transport http {
			dial_timeout 5s
			# The relay closes an idle connection after 30 s. Leaving it sooner keeps a request from being
			# sent into one that is just closing.
			keepalive 20s
			compression off
		}
	}
}
`;
}

/**
 * A whole configuration for HAProxy 2.6 or newer (`/etc/haproxy/haproxy.cfg`).
 *
 * @throws {Problem} if a name or path cannot stand in it
 */
export function haproxyConfig(options: ProxyConfigOptions): string {
  const facts = factsOf(options);
  return `# HAProxy in front of modelrelay. Printed by: modelrelay tls haproxy ${domainFlags(facts.names)}
#
# File:   /etc/haproxy/haproxy.cfg
# Apply:  haproxy -c -f /etc/haproxy/haproxy.cfg && systemctl reload haproxy
# Relay:  ${relayCommand(facts)}

global
    log /dev/log local0
    user haproxy
    group haproxy
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    ssl-default-bind-ciphers ${CIPHERS}

defaults
    mode http
    log global
    option httplog
    option dontlognull
    timeout connect 5s
    # For the head of a request. The body may take its time.
    timeout http-request 30s
    timeout http-keep-alive 60s
    # A model can be silent for minutes before its first word, and a client can be slow to read. This is the
    # relay's --request-timeout and a minute more, so that the relay gives up first and says why.
    timeout client ${facts.requestSecs}s
    timeout server ${facts.requestSecs}s
    # Takes the place of the two above once a connection is a worker's WebSocket, which lives for long.
    timeout tunnel ${LINK_SECS}s

    # Nothing is held back: a request is passed on while it comes, and a token leaves when it comes. HAProxy
    # has no limit for bodies; the relay has (--max-body), and its refusal says which.
    no option http-buffer-request
    option http-no-delay
    # A client that leaves while the model is still thinking ends its request at once.
    option abortonclose

# Plain HTTP: certbot's challenges, and a redirect for the rest. 308 keeps method, path and query.
frontend plain
    bind :80
    bind [::]:80 v6only
    acl challenge path_beg /.well-known/acme-challenge/
    http-request redirect scheme https code 308 unless challenge
    use_backend certbot if challenge

frontend relay
    # One file with the chain and then the key:
    #   cat ${facts.certFile} \\
    #       ${facts.keyFile} \\
    #       > ${facts.bundleFile}
    # With a folder in its place HAProxy takes each file in it, and picks by the name that a client asks for.
    bind :443 ssl crt ${facts.bundleFile} alpn h2,http/1.1
    bind [::]:443 v6only ssl crt ${facts.bundleFile} alpn h2,http/1.1

    # Tells browsers never to come by plain HTTP again. Take it in when https has worked for a while.
    # http-response set-header Strict-Transport-Security "max-age=31536000"

    # Set, never appended to: the relay believes what stands here, so nothing of it may be the client's.
    http-request set-header X-Forwarded-For %[src]
    http-request set-header X-Forwarded-Proto https
    http-request del-header Forwarded
    default_backend modelrelay

backend modelrelay
    server relay ${facts.upstream}

# Listens only while certbot runs: certbot certonly --standalone --http-01-port ${CERTBOT_PORT} …
backend certbot
    server certbot 127.0.0.1:${CERTBOT_PORT}
`;
}
