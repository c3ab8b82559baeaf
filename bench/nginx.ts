import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { awaitReady, freePort, startChild } from "./child.ts";
import type { Subject } from "./subject.ts";

/**
 * nginx as people put it before an inference server: one worker, no buffering in either direction,
 * connections to the backend kept. Nothing in it writes to disk but the error log.
 */
export function nginxConfig(port: number, backend: URL, dir: string): string {
  const temp = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
    .map((kind) => `  ${kind}_temp_path ${dir}/${kind};`)
    .join("\n");
  return `daemon off;
worker_processes 1;
worker_rlimit_nofile 16384;
pid ${dir}/nginx.pid;
error_log ${dir}/error.log warn;
${process.getuid?.() === 0 ? "user root;" : ""}
events { worker_connections 8192; }
http {
  access_log off;
${temp}
  keepalive_requests 1000000000;
  client_max_body_size 0;
  upstream backend {
    server ${backend.host};
    keepalive 1024;
    keepalive_requests 1000000000;
  }
  server {
    listen 127.0.0.1:${port};
    location / {
      proxy_pass http://backend;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header Host $host;
      proxy_buffering off;
      proxy_request_buffering off;
      proxy_read_timeout 600s;
    }
  }
}
`;
}

/** nginx's version, or `undefined` where it is not installed. */
export function nginxVersion(): string | undefined {
  const path = Bun.which("nginx", { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/local/sbin` });
  if (path === null) return undefined;
  const said = Bun.spawnSync([path, "-v"], { stderr: "pipe" }).stderr.toString();
  return /nginx\/([\d.]+)/.exec(said)?.[1] ?? "unknown";
}

/** Starts nginx before the backend, or before another nginx. @throws {Problem} if it does not come up */
export async function startNginx(backend: URL, workDir: string, name = "nginx"): Promise<Subject> {
  const dir = join(workDir, name);
  mkdirSync(dir, { recursive: true });
  const port = freePort();
  const config = join(dir, "nginx.conf");
  writeFileSync(config, nginxConfig(port, backend, dir));
  const path =
    Bun.which("nginx", { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/usr/local/sbin` }) ?? "nginx";
  const child = startChild(name, [path, "-e", join(dir, "error.log"), "-p", dir, "-c", config], dir);
  const baseUrl = `http://127.0.0.1:${port}`;
  try {
    await awaitReady(name, [child], 10_000, async () =>
      (await fetch(`${baseUrl}/v1/models`, { proxy: false })).ok ? true : undefined,
    );
  } catch (error) {
    await child[Symbol.asyncDispose]();
    throw error;
  }
  return {
    name,
    baseUrl,
    processes: { [name]: [child.pid] },
    stop: async () => await child[Symbol.asyncDispose](),
  };
}
