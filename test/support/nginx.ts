import { join } from "node:path";
import { requirePart } from "./parts.ts";
import {
  startOnFreePorts,
  substitute,
  tlsProxy,
  type PortProgram,
  type TlsProxy,
  type TlsProxyOptions,
} from "./proxy-process.ts";

export interface NginxOptions {
  /** Port on 127.0.0.1 that requests go to. */
  upstreamPort: number;
  /** Whether nginx may hold bodies back in either direction; off is what a stream needs. */
  buffering: boolean;
}

export interface Nginx extends AsyncDisposable {
  /** `http://127.0.0.1:<port>`, without a slash at the end. */
  url: string;
  pid: number;
  log(): string;
}

/** The main file that a distribution would have, around what belongs into its `http` block. */
export function nginxMain(dir: string, http: string): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${dir}/${kind};`,
  );
  return `daemon off;
worker_processes 1;
# Started as root, the worker would otherwise become a user who may not read the folder.
${process.getuid?.() === 0 ? "user root;" : ""}
pid ${dir}/nginx.pid;
error_log stderr notice;
events { worker_connections 4096; }
http {
  access_log off;
  ${temp.join("\n  ")}
${http}
}
`;
}

async function nginxProgram(dir: string, http: string): Promise<PortProgram> {
  const file = join(dir, "nginx.conf");
  await Bun.write(file, nginxMain(dir, http));
  return {
    command: [requirePart("nginx"), "-p", dir, "-c", file, "-e", "stderr"],
    ready: /start worker process \d+/,
    taken: /bind\(\) to .* failed/,
  };
}

function plainServer(port: number, options: NginxOptions): string {
  const buffering = options.buffering ? "on" : "off";
  return `client_max_body_size 0;
  keepalive_requests 1000000;
  # Empty for a plain request, so that the connection to the upstream is kept.
  map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
  upstream relay {
    server 127.0.0.1:${options.upstreamPort};
    keepalive 256;
    keepalive_requests 1000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://relay;
      proxy_http_version 1.1;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_buffering ${buffering};
      proxy_request_buffering ${buffering};
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
    }
  }`;
}

/**
 * Starts nginx as the current user before a server on this machine: HTTP and WebSockets, one worker.
 *
 * @throws {Problem} if the part is missing or nginx does not come up
 */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const started = await startOnFreePorts("nginx", 1, ([port], dir) =>
    nginxProgram(dir, plainServer(port!, options)),
  );
  return Object.assign(started, { url: `http://127.0.0.1:${started.ports[0]}` });
}

/**
 * Starts nginx with a configuration for `/etc/nginx/conf.d`, written for relay.example.com.
 *
 * @param outer what else stands in the `http` block
 * @throws {Problem} if the part is missing or nginx does not come up
 */
export async function startTlsNginx(options: TlsProxyOptions, outer = ""): Promise<TlsProxy> {
  return tlsProxy(
    await startOnFreePorts("nginx", 2, ([tls, plain], dir) => {
      const site = substitute(options.config, [
        ["listen 443 ssl", `listen 127.0.0.1:${tls} ssl`],
        ["listen [::]:443 ssl http2;", ""],
        ["listen 80;", `listen 127.0.0.1:${plain};`],
        ["listen [::]:80;", ""],
        ["server 127.0.0.1:8080;", `server 127.0.0.1:${options.upstreamPort};`],
        ["/etc/letsencrypt/live/relay.example.com/fullchain.pem", options.certificate.chain],
        ["/etc/letsencrypt/live/relay.example.com/privkey.pem", options.certificate.key],
        ["root /var/www/html;", `root ${dir}/webroot;`],
      ]);
      return nginxProgram(dir, `${outer}\n${site}`);
    }),
  );
}
