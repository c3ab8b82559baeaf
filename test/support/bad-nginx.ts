import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestCertificate } from "./certificates.ts";
import { requirePart } from "./parts.ts";
import { ServerProcess } from "./server-process.ts";

const START_MS = 10_000;
/** Another process can take a free port before nginx does. */
const ATTEMPTS = 5;

export interface BadNginxOptions {
  certificate: TestCertificate;
  /** Port on 127.0.0.1 that requests go to. */
  upstreamPort: number;
  /** What stands in `location /` beside `proxy_pass`: what is left out is what is wrong. */
  location: string;
  /** What stands in `server` beside the certificate. */
  server?: string;
}

export interface BadNginx extends AsyncDisposable {
  port: number;
}

/** nginx takes no port 0, so it is handed one that was free a moment ago. */
function freePort(): number {
  using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  return listener.port;
}

/** nginx that ends TLS in front of a relay and is configured as people do who have not read how. */
export async function startBadNginx(options: BadNginxOptions): Promise<BadNginx> {
  const nginx = requirePart("nginx");
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-bad-nginx-"));
  const file = (name: string): string => join(dir, name);
  writeFileSync(file("chain.pem"), options.certificate.chainPem);
  writeFileSync(file("key.pem"), options.certificate.keyPem);
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(
    (kind) => `${kind}_temp_path ${dir}/${kind};`,
  );
  for (let attempt = 1; ; attempt++) {
    const port = freePort();
    writeFileSync(
      file("nginx.conf"),
      `daemon off;
worker_processes 1;
${process.getuid?.() === 0 ? "user root;" : ""}
pid ${dir}/nginx.pid;
error_log stderr notice;
events { worker_connections 256; }
http {
  access_log off;
  ${temp.join("\n  ")}
  server {
    listen 127.0.0.1:${port} ssl;
    ssl_certificate ${file("chain.pem")};
    ssl_certificate_key ${file("key.pem")};
    ${options.server ?? ""}
    location / {
      proxy_pass http://127.0.0.1:${options.upstreamPort};
      ${options.location}
    }
  }
}
`,
    );
    const server = new ServerProcess("nginx", [nginx, "-p", dir, "-c", file("nginx.conf"), "-e", "stderr"]);
    const dispose = async (): Promise<void> => {
      await server[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    };
    try {
      const [line] = await server.logged(/start worker process \d+|bind\(\) to .* failed/, START_MS);
      if (line.startsWith("start")) return { port, [Symbol.asyncDispose]: dispose };
      if (attempt === ATTEMPTS) throw new Error(`Cannot start nginx: ${line}, ${ATTEMPTS} times`);
      await server[Symbol.asyncDispose]();
    } catch (error) {
      await dispose();
      throw error;
    }
  }
}
