import { CIPHERS } from "../ciphers.ts";
import { domainFlags, factsOf, LINK_SECS, relayCommand, type ProxyConfigOptions } from "./facts.ts";

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
