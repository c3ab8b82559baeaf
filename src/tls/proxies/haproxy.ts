import { CIPHERS } from "../ciphers.ts";
import { domainFlags, factsOf, LINK_SECS, relayCommand, type ProxyConfigOptions } from "./facts.ts";

/** Where certbot answers challenges that HAProxy passes on. */
const CERTBOT_PORT = 8402;

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
