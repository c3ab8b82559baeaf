import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ServerProcess } from "./server-process.ts";

const START_MS = 10_000;
/** Another process can take a free port before the proxy does. */
const ATTEMPTS = 5;

/** How a program that takes no port 0 is started, once ports and a folder for it are there. */
export interface PortProgram {
  command: string[];
  env?: Record<string, string>;
  /** What it logs when it listens. */
  ready: RegExp;
  /** What it logs when somebody else has a port. */
  taken: RegExp;
}

/** A running proxy; its folder goes with it. */
export interface ProxyProcess extends AsyncDisposable {
  ports: number[];
  dir: string;
  pid: number;
  log(): string;
  /** Waits until the log matches. @throws {Problem} with the log, if it does not */
  logged(pattern: RegExp): Promise<RegExpExecArray>;
}

/** A proxy that terminates TLS for a relay, from a configuration as operators get it. */
export interface TlsProxyOptions {
  /** The configuration before ports, paths and certificate are those of this machine. */
  config: string;
  /** Port on 127.0.0.1 where the relay listens. */
  upstreamPort: number;
  /** PEM files. */
  certificate: { chain: string; key: string; bundle: string };
}

export interface TlsProxy extends ProxyProcess {
  /** `https://localhost:<port>`, without a slash at the end. */
  url: string;
  /** `http://localhost:<port>` of the port that stands for 80. */
  plainUrl: string;
}

/** A port that was free a moment ago. */
export function freePort(): number {
  using listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  return listener.port;
}

/** Replaces text wherever it stands. @throws {Error} if it stands nowhere */
export function substitute(text: string, replacements: readonly (readonly [string, string])[]): string {
  let result = text;
  for (const [from, to] of replacements) {
    if (!result.includes(from)) throw new Error(`Cannot replace ${JSON.stringify(from)}: it is not there`);
    result = result.replaceAll(from, to);
  }
  return result;
}

/**
 * Starts a program on as many ports of 127.0.0.1 as it needs; tries others if one is taken.
 *
 * @throws {Problem} with its log, if it does not come up
 */
export async function startOnFreePorts(
  name: string,
  count: number,
  prepare: (ports: number[], dir: string) => Promise<PortProgram>,
): Promise<ProxyProcess> {
  const dir = mkdtempSync(join(tmpdir(), `modelrelay-${name}-`));
  for (let attempt = 1; ; attempt++) {
    const ports = Array.from({ length: count }, freePort);
    const program = await prepare(ports, dir);
    const server = new ServerProcess(name, program.command, program.env);
    const dispose = async () => {
      await server[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true, force: true });
    };
    try {
      const either = new RegExp(`${program.taken.source}|${program.ready.source}`);
      const [line] = await server.logged(either, START_MS);
      if (!program.taken.test(line)) {
        return {
          ports,
          dir,
          pid: server.pid,
          log: () => server.log(),
          logged: (pattern) => server.logged(pattern, START_MS),
          [Symbol.asyncDispose]: dispose,
        };
      }
      if (attempt === ATTEMPTS) throw new Error(`Cannot start ${name}: ${line}, ${ATTEMPTS} times`);
      await server[Symbol.asyncDispose]();
    } catch (error) {
      await dispose();
      throw error;
    }
  }
}

/** The addresses of a proxy whose first port is the TLS one and whose second stands for 80. */
export function tlsProxy(started: ProxyProcess): TlsProxy {
  const [tls, plain] = started.ports;
  return Object.assign(started, { url: `https://localhost:${tls}`, plainUrl: `http://localhost:${plain}` });
}
