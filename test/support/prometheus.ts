import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { requirePart } from "./parts.ts";
import { ServerProcess } from "./server-process.ts";

const START_MS = 15_000;
/** Another process can take a free port before Prometheus does. */
const ATTEMPTS = 5;

export interface PrometheusOptions {
  /** `host:port` of what is scraped, at `/metrics`. */
  target: string;
  /** What scrapers have to show there. */
  token?: string;
  /** Files of rules. */
  rules?: string[];
}

/** A sample of a query's answer, with its labels. */
export interface Sample {
  metric: Record<string, string>;
  value: [at: number, value: string];
}

export interface Prometheus extends AsyncDisposable {
  url: string;
  /** What an expression is now. @throws {Error} with Prometheus' own words if it cannot be read */
  query(expression: string): Promise<Sample[]>;
  get<T>(path: string): Promise<T>;
}

/**
 * Starts Prometheus, which scrapes one target five times a second.
 *
 * @throws {Problem} if it is missing or does not come up
 */
export async function startPrometheus({ target, token, rules = [] }: PrometheusOptions): Promise<Prometheus> {
  const program = requirePart("prometheus");
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-prometheus-"));
  const config = {
    global: { scrape_interval: "200ms", scrape_timeout: "200ms", evaluation_interval: "200ms" },
    rule_files: rules,
    scrape_configs: [
      {
        job_name: "modelrelay",
        static_configs: [{ targets: [target] }],
        ...(token !== undefined && { authorization: { credentials: token } }),
      },
    ],
  };
  // YAML takes JSON as it is.
  await Bun.write(join(dir, "prometheus.yml"), JSON.stringify(config));
  for (let attempt = 1; ; attempt++) {
    const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    const { port } = listener;
    listener.stop(true);
    const server = new ServerProcess("prometheus", [
      program,
      `--config.file=${join(dir, "prometheus.yml")}`,
      `--storage.tsdb.path=${join(dir, "data")}`,
      `--web.listen-address=127.0.0.1:${port}`,
    ]);
    const url = `http://127.0.0.1:${port}`;
    const get = async <T>(path: string): Promise<T> => {
      const response = await fetch(url + path, { keepalive: false, proxy: "" });
      const answer = (await response.json()) as { status: string; error?: string; data: T };
      if (answer.status !== "success") throw new Error(`Prometheus answers ${path}: ${answer.error}`);
      return answer.data;
    };
    try {
      await server.logged(/Server is ready to receive web requests/, START_MS);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      if (attempt < ATTEMPTS && /address already in use/.test(server.log())) continue;
      rmSync(dir, { recursive: true, force: true });
      throw error;
    }
    return {
      url,
      get,
      query: async (expression) => {
        const { result } = await get<{ result: Sample[] }>(
          `/api/v1/query?query=${encodeURIComponent(expression)}`,
        );
        return result;
      },
      async [Symbol.asyncDispose]() {
        await server[Symbol.asyncDispose]();
        rmSync(dir, { recursive: true, force: true });
      },
    };
  }
}

/** What promtool says, and whether it is content. */
export function promtool(args: string[], input = ""): { ok: boolean; said: string } {
  const { exitCode, stdout, stderr } = Bun.spawnSync([requirePart("promtool"), ...args], {
    stdin: Buffer.from(input),
  });
  return { ok: exitCode === 0, said: `${stdout.toString()}${stderr.toString()}` };
}
