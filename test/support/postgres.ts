import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SQL } from "bun";
import { Problem } from "../../src/base/errors.ts";
import { requirePart } from "./parts.ts";
import { ServerProcess } from "./server-process.ts";

const START_MS = 20_000;
/** Somebody else may take a free port before the server does. */
const ATTEMPTS = 5;
/** The server refuses to run as root. */
const SERVANT = { user: "nobody", group: "nogroup" };

/** A PostgreSQL server with a database of its own for each test. */
export interface Postgres extends AsyncDisposable {
  /** Makes an empty database. @returns its address */
  createDatabase(): Promise<string>;
  /** Every process of the server hears the signal. */
  signal(signal: "SIGSTOP" | "SIGCONT"): void;
  /** Ends it like a crash. */
  kill(): Promise<void>;
  /** Starts it again on the same port and data. */
  start(): Promise<void>;
}

function freePort(): number {
  const listener = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
  const { port } = listener;
  listener.stop(true);
  return port;
}

/** The program with its arguments, as somebody whom the server takes. @param more flags of setpriv */
function asServant(command: string[], ...more: string[]): string[] {
  const { user, group } = SERVANT;
  const isRoot = process.getuid?.() === 0;
  const flags = [...(isRoot ? [`--reuid=${user}`, `--regid=${group}`, "--clear-groups"] : []), ...more];
  const setpriv = Bun.which("setpriv");
  if (setpriv !== null && flags.length > 0) return [setpriv, ...flags, ...command];
  if (!isRoot) return command;
  throw new Problem("Cannot run PostgreSQL as root: setpriv, which makes it another user's, is missing");
}

async function run(command: string[]): Promise<string> {
  const child = Bun.spawn(asServant(command), { stdio: ["ignore", "pipe", "pipe"], cwd: "/" });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  if (code !== 0) throw new Problem(`Cannot run ${command.join(" ")}: ${stderr}`);
  return stdout.trim();
}

/** A folder that the servant owns, in one that it may enter. */
async function servantFolder(): Promise<string> {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-postgres-"));
  chmodSync(dir, 0o755);
  const data = join(dir, "data");
  mkdirSync(data, { mode: 0o700 });
  if (process.getuid?.() === 0) {
    const [uid, gid] = (await run(["sh", "-c", "id -u; id -g"])).split("\n").map(Number);
    chownSync(data, uid ?? 0, gid ?? 0);
  }
  return dir;
}

/** The processes of the server: the first, and its children. */
function processesOf(pid: number): number[] {
  const { stdout } = Bun.spawnSync(["pgrep", "-P", String(pid)]);
  return [pid, ...stdout.toString().trim().split("\n").filter(Boolean).map(Number)];
}

/**
 * Makes a cluster in a folder of its own and starts it on 127.0.0.1.
 *
 * @throws {Problem} if the part is missing or does not come up
 */
export async function startPostgres(): Promise<Postgres> {
  const bin = requirePart("postgres");
  const dir = await servantFolder();
  const data = join(dir, "data");
  await run([
    join(bin, "initdb"),
    `--pgdata=${data}`,
    "--username=modelrelay",
    "--auth=trust",
    "--encoding=UTF8",
    "--no-sync",
  ]);
  let port = 0;
  let server: ServerProcess | undefined;
  let databases = 0;

  async function launch(): Promise<void> {
    const settings = [`listen_addresses=127.0.0.1`, `unix_socket_directories=`, `fsync=off`];
    const started = new ServerProcess(
      "postgres",
      // A test run that is killed stops no server; the system does.
      asServant(
        [join(bin, "postgres"), "-D", data, "-p", String(port), ...settings.flatMap((one) => ["-c", one])],
        "--pdeathsig=INT",
      ),
    );
    try {
      await started.logged(/ready to accept connections/, START_MS);
      server = started;
    } catch (thrown) {
      await started[Symbol.asyncDispose]();
      throw thrown;
    }
  }

  for (let attempt = 1; ; attempt++) {
    port = freePort();
    try {
      await launch();
      break;
    } catch (thrown) {
      if (attempt < ATTEMPTS && /could not bind/.test(String(thrown))) continue;
      rmSync(dir, { recursive: true, force: true });
      throw thrown;
    }
  }

  const stop = async (): Promise<void> => {
    const running = server;
    server = undefined;
    if (running === undefined) return;
    for (const pid of processesOf(running.pid)) send(pid, "SIGCONT");
    // To the server SIGINT and SIGQUIT are orders to end at once; SIGTERM would wait for its clients.
    send(running.pid, "SIGQUIT");
    await running[Symbol.asyncDispose]();
  };
  return {
    async createDatabase() {
      const name = `test_${++databases}`;
      await using sql = new SQL(`postgres://modelrelay@127.0.0.1:${port}/postgres`);
      await sql.unsafe(`CREATE DATABASE ${name}`);
      return `postgres://modelrelay@127.0.0.1:${port}/${name}`;
    },
    signal(signal) {
      if (server === undefined) throw new Problem(`Cannot send ${signal}: the server does not run`);
      for (const pid of processesOf(server.pid)) send(pid, signal);
    },
    kill: stop,
    start: launch,
    async [Symbol.asyncDispose]() {
      await stop();
      rmSync(dir, { recursive: true, force: true });
    },
  };
}

/** A process that has ended meanwhile needs no signal. */
function send(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {}
}
