import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requirePart } from "./parts.ts";
import { ServerProcess } from "./server-process.ts";

const START_MS = 10_000;
/** Another process can take a free port before nginx does. */
const ATTEMPTS = 5;

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

function config(dir: string, port: number, options: NginxOptions): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${dir}/${kind};`,
  );
  const buffering = options.buffering ? "on" : "off";
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
  client_max_body_size 0;
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
  }
}
`;
}

/** nginx takes no port 0, so it is handed one that was free a moment ago. */
function freePort(): number {
  using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  return listener.port;
}

/**
 * Starts nginx as the current user before a server on this machine: HTTP and WebSockets, one worker.
 *
 * @throws {Problem} if the part is missing or nginx does not come up
 */
export async function startNginx(options: NginxOptions): Promise<Nginx> {
  const nginx = requirePart("nginx");
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-nginx-"));
  for (let attempt = 1; ; attempt++) {
    const port = freePort();
    const file = join(dir, "nginx.conf");
    await Bun.write(file, config(dir, port, options));
    const server = new ServerProcess("nginx", [nginx, "-p", dir, "-c", file, "-e", "stderr"]);
    const dispose = async () => {
      await server[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    };
    try {
      const [line] = await server.logged(/start worker process \d+|bind\(\) to .* failed/, START_MS);
      if (line.startsWith("start")) {
        return {
          url: `http://127.0.0.1:${port}`,
          pid: server.pid,
          log: () => server.log(),
          [Symbol.asyncDispose]: dispose,
        };
      }
      if (attempt === ATTEMPTS) throw new Error(`Cannot start nginx: ${line}, ${ATTEMPTS} times`);
      await server[Symbol.asyncDispose]();
    } catch (error) {
      await dispose();
      throw error;
    }
  }
}
