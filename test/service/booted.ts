import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { runProgram, startProgram, type Program } from "../e2e/program.ts";
import { binaryPath } from "../support/binary.ts";
import { mountCopy, ROOTS_ENV } from "../support/mounted-copy.ts";
import { requirePart } from "../support/parts.ts";

/**
 * A Debian that systemd has booted, with a network of its own and the executable under test in
 * /usr/local/bin. What happens in it is kept in memory, and is gone with it.
 */
export class BootedDebian implements AsyncDisposable {
  readonly #boot: Program;
  /** Its first process, as this machine counts. */
  readonly #init: number;
  readonly #dir: TempDir;

  private constructor(boot: Program, init: number, dir: TempDir) {
    this.#boot = boot;
    this.#init = init;
    this.#dir = dir;
  }

  /** @throws {Error} if this user may not do that, or systemd does not come up */
  static async start(): Promise<BootedDebian> {
    const dir = new TempDir();
    const root = join(dir.path, "root");
    const machine = `modelrelay-${process.pid}`;
    const script = `set -e
      ${mountCopy(requirePart("systemdRoot"), dir.path, root)}
      exec ${requirePart("nspawn")} --directory=${root} --boot --machine=${machine} --register=no --keep-unit \
        --link-journal=no --resolv-conf=off --private-network --console=read-only \
        --bind-ro=${binaryPath()}:/usr/local/bin/modelrelay`;
    const unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script];
    const boot = startProgram(unshare, { env: { SYSTEMD_NSPAWN_UNIFIED_HIERARCHY: "1" } });
    try {
      await boot.until(/Reached target .*multi-user/, "stdout");
      return new BootedDebian(boot, initOf(boot.pid), dir);
    } catch (error) {
      await boot[Symbol.asyncDispose]();
      dir[Symbol.dispose]();
      throw error;
    }
  }

  #inside(command: readonly string[], env: Record<string, string>): string[] {
    const variables = Object.entries({ ...ROOTS_ENV, ...env }).map(([name, value]) => `${name}=${value}`);
    const enter = ["nsenter", `--target=${this.#init}`, "--all", "--", "env", "-i", ...variables];
    // nsenter is another process than the one that is started in there, which shall end with it.
    return [...enter, "setpriv", "--pdeathsig=KILL", ...command];
  }

  start(command: readonly string[], env: Record<string, string> = {}): Program {
    return startProgram(this.#inside(command, env));
  }

  /** Starts a program of the machine that runs the tests in the network of this one. */
  startBeside(command: readonly string[]): Program {
    return startProgram(["nsenter", `--net=/proc/${this.#init}/ns/net`, ...command]);
  }

  /** Runs a program as the superuser in it. */
  async run(command: readonly string[], env: Record<string, string> = {}) {
    return runProgram(this.#inside(command, env));
  }

  /** The same, with a line of a shell. @returns what it wrote, without the space around it */
  async sh(line: string): Promise<string> {
    const { stdout, stderr } = await this.run(["sh", "-c", line]);
    return `${stdout}${stderr}`.trim();
  }

  async modelrelay(...args: string[]) {
    return this.run(["modelrelay", ...args]);
  }

  /** Values of a unit's properties, as systemd tells them. */
  async show(unit: string, ...names: string[]): Promise<string[]> {
    const lines = (await this.sh(`systemctl show '${unit}' --property=${names.join(",")}`)).split("\n");
    return names.map(
      (name) => lines.find((line) => line.startsWith(`${name}=`))?.slice(name.length + 1) ?? "",
    );
  }

  /** Waits until a log has a line, for all that is told of no other way. */
  async untilLogged(pattern: RegExp): Promise<string> {
    await using journal = this.start(["journalctl", "--follow", "--lines=all", "--output=cat"]);
    return (await journal.until(pattern, "stdout"))[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // With its first process all of it ends.
    process.kill(this.#init, "SIGKILL");
    await this.#boot.exited;
    await this.#boot[Symbol.asyncDispose]();
    this.#dir[Symbol.dispose]();
    rmSync(this.#dir.path, { recursive: true, force: true });
  }
}

/** The systemd among the children of a process. */
function initOf(parent: number): number {
  const children = readFileSync(`/proc/${parent}/task/${parent}/children`, "utf8")
    .trim()
    .split(" ")
    .map(Number);
  const init = children.find((pid) => readFileSync(`/proc/${pid}/comm`, "utf8").trim() === "systemd");
  if (init === undefined) throw new Error(`Cannot find the first process of what ${parent} has booted`);
  return init;
}
