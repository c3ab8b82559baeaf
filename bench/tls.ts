import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { makeCertificate } from "../test/support/certificates.ts";
import { startBackend } from "./backend.ts";
import { awaitReady, freePort, startChild } from "./child.ts";
import { encodeQuestion } from "./completion.ts";
import { cpuSeconds, processTree } from "./proc.ts";

// bun bench/tls.ts: the relay's own HTTPS port against nginx ending TLS in front of the same relay's plain
// one, with the same certificate (ECDSA P-256), taking turns. Needs nginx, wrk and h2load.

const { values } = parseArgs({
  options: {
    binary: { type: "string", default: join(import.meta.dir, "../dist/modelrelay") },
    seconds: { type: "string", default: "4" },
    rounds: { type: "string", default: "5" },
  },
});
const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin`;
const program = (name: string): string => {
  const found = Bun.which(name, { PATH });
  if (found === null) throw new Error(`Cannot measure: ${name} is not installed`);
  return found;
};

const dir = mkdtempSync(join(tmpdir(), "modelrelay-bench-tls-"));
const file = (name: string, text: string): string => {
  writeFileSync(join(dir, name), text);
  return join(dir, name);
};
const { chainPem, keyPem } = makeCertificate();
const cert = file("chain.pem", chainPem);
const key = file("key.pem", keyPem);
const question = encodeQuestion({}, false, 300).toString();
const body = file("question.json", question);
const post = file(
  "post.lua",
  `wrk.method = "POST"\nwrk.headers["content-type"] = "application/json"\nwrk.body = [[${question}]]\n`,
);

await using started = new AsyncDisposableStack();
started.defer(() => rmSync(dir, { recursive: true, force: true }));
const backend = startBackend(0);
started.defer(() => backend.stop(true));
const [plain, relayPort, nginxPort] = [freePort(), freePort(), freePort()];
const env = { WORKER_SECRET: "bench", MODELRELAY_DATA_DIR: dir, HOME: dir };
const relay = started.use(
  startChild(
    "serve",
    [
      values.binary,
      "serve",
      `--listen=127.0.0.1:${plain}`,
      `--https-port=127.0.0.1:${relayPort}`,
      "--http-port=off",
      `--tls-cert=${cert}`,
      `--tls-key=${key}`,
    ],
    dir,
    env,
  ),
);
const proxyUrl = `http://127.0.0.1:${plain}`;
await awaitReady("serve", [relay], 10_000, async () =>
  (await fetch(`${proxyUrl}/livez`)).ok ? true : undefined,
);
started.use(
  startChild(
    "worker",
    [
      values.binary,
      "worker",
      `--proxy-url=${proxyUrl}`,
      `--backend-url=${backend.url.origin}`,
      "--models=*",
      "--max-concurrency=4096",
    ],
    dir,
    env,
  ),
);
mkdirSync(join(dir, "nginx"));
const nginx = started.use(
  startChild(
    "nginx",
    [
      program("nginx"),
      "-e",
      join(dir, "error.log"),
      "-c",
      file(
        "nginx.conf",
        `daemon off; worker_processes 1; pid ${dir}/nginx.pid; ${process.getuid?.() === 0 ? "user root;" : ""}
events { worker_connections 8192; }
http {
  access_log off; keepalive_requests 1000000000; client_body_temp_path ${dir}/nginx;
  upstream relay { server 127.0.0.1:${plain}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${nginxPort} ssl http2;
    ssl_certificate ${cert}; ssl_certificate_key ${key}; ssl_protocols TLSv1.2 TLSv1.3;
    location / {
      proxy_pass http://relay; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_buffering off; proxy_request_buffering off;
    }
  }
}`,
      ),
    ],
    dir,
  ),
);
await awaitReady("relay and worker", [relay, nginx], 10_000, async () => {
  const models = await fetch(`https://127.0.0.1:${nginxPort}/v1/models`, { tls: { ca: chainPem } });
  return (await models.text()).includes("bench") ? true : undefined;
});

/** Commands, and where each says how many a second it did. */
const LOADS: Record<string, { command: (url: string) => string[]; figure: RegExp; clean: RegExp }> = {
  "requests/s, HTTP/1.1, 64 connections": {
    command: (url) => [
      program("wrk"),
      "-t1",
      "-c64",
      `-d${values.seconds}s`,
      "-s",
      post,
      `${url}/v1/chat/completions`,
    ],
    figure: /Requests\/sec:\s+([\d.]+)/,
    clean: /^(?!.*(Non-2xx|Socket errors))/s,
  },
  "requests/s, HTTP/1.1, one connection": {
    command: (url) => [
      program("wrk"),
      "-t1",
      "-c1",
      `-d${values.seconds}s`,
      "-s",
      post,
      `${url}/v1/chat/completions`,
    ],
    figure: /Requests\/sec:\s+([\d.]+)/,
    clean: /^(?!.*(Non-2xx|Socket errors))/s,
  },
  "requests/s, HTTP/2, 8 connections with 8 streams": {
    command: (url) => [
      program("h2load"),
      "-n10000",
      "-c8",
      "-m8",
      `--data=${body}`,
      "--header=content-type: application/json",
      `${url}/v1/chat/completions`,
    ],
    figure: /finished in [\d.]+m?s, ([\d.]+) req\/s/,
    clean: /10000 2xx/,
  },
  "handshakes/s, one request each, 64 at once": {
    command: (url) => [
      program("wrk"),
      "-t1",
      "-c64",
      `-d${values.seconds}s`,
      "-H",
      "Connection: close",
      `${url}/livez`,
    ],
    figure: /Requests\/sec:\s+([\d.]+)/,
    clean: /^(?!.*Non-2xx)/s,
  },
};

const median = (list: number[]): number => list.toSorted((a, b) => a - b)[list.length >> 1]!;

for (const [name, { command, figure, clean }] of Object.entries(LOADS)) {
  const rates: Record<"relay" | "nginx", number[]> = { relay: [], nginx: [] };
  const cpu: Record<"relay" | "nginx", number[]> = { relay: [], nginx: [] };
  for (let round = 0; round < Number(values.rounds); round += 1) {
    for (const [subject, port] of [
      ["relay", relayPort],
      ["nginx", nginxPort],
    ] as const) {
      const pids = subject === "relay" ? [relay.pid] : [relay.pid, ...processTree(nginx.pid)];
      const before = cpuSeconds(pids);
      const begun = performance.now();
      const load = Bun.spawn(command(`https://127.0.0.1:${port}`), { stdout: "pipe", stderr: "inherit" });
      const said = await load.stdout.text();
      const rate = Number(figure.exec(said)?.[1]);
      if (!(rate > 0) || !clean.test(said)) throw new Error(`The run failed:\n${said}`);
      rates[subject].push(rate);
      cpu[subject].push(
        ((cpuSeconds(pids) - before) / ((rate * (performance.now() - begun)) / 1_000)) * 1_000,
      );
    }
  }
  const ratios = rates.relay.map((rate, round) => rate / rates.nginx[round]!);
  console.log(
    `${name}: relay ${Math.round(median(rates.relay))}, nginx before it ${Math.round(median(rates.nginx))}, ` +
      `ratio ${median(ratios).toFixed(2)} (${Math.min(...ratios).toFixed(2)}-${Math.max(...ratios).toFixed(2)}); ` +
      `CPU ms each: ${median(cpu.relay).toFixed(3)} and ${median(cpu.nginx).toFixed(3)}`,
  );
}
