import { rmSync } from "node:fs";
import { join } from "node:path";
import { TempDir } from "../commands/reading.ts";
import { runProgram, startProgram, type Program } from "../e2e/program.ts";
import { mountCopy, ROOTS_ENV } from "../support/mounted-copy.ts";
import { requirePart } from "../support/parts.ts";

/**
 * A fresh Debian, which shares only the network with this machine. What happens in it is kept in memory, and
 * is gone with it: its disk is mounted where nobody else sees it, by a process that holds it.
 */
export class DebianRoot implements AsyncDisposable {
  readonly #holder: Program;
  readonly #root: string;
  readonly #dir: TempDir;

  private constructor(holder: Program, root: string, dir: TempDir) {
    this.#holder = holder;
    this.#root = root;
    this.#dir = dir;
  }

  /**
   * @param prepare what is done before it is used: a shell script that finds it in `$root`
   * @throws {Error} if this user may not mount, or something like that
   */
  static async start(prepare = ""): Promise<DebianRoot> {
    const dir = new TempDir();
    const root = join(dir.path, "root");
    const script = `set -e
      root=${root}
      ${mountCopy(requirePart("debianRoot"), dir.path, root)}
      mount -t proc proc $root/proc
      ${prepare}
      echo ready
      exec sleep infinity`;
    const unshare = ["unshare", "--mount", "--propagation", "private", "sh", "-c", script];
    const holder = startProgram(unshare);
    try {
      await holder.until(/ready/, "stdout");
    } catch (error) {
      await holder[Symbol.asyncDispose]();
      dir[Symbol.dispose]();
      throw error;
    }
    return new DebianRoot(holder, root, dir);
  }

  #outside(...command: string[]): string[] {
    return ["nsenter", `--mount=/proc/${this.#holder.pid}/ns/mnt`, ...command];
  }

  #inside(command: string[], env: Record<string, string>): string[] {
    const variables = Object.entries({ ...ROOTS_ENV, ...env }).map(([name, value]) => `${name}=${value}`);
    const chroot = Bun.which("chroot", { PATH: "/usr/sbin:/usr/bin:/sbin" }) ?? "chroot";
    return this.#outside("env", "-i", ...variables, chroot, this.#root, ...command);
  }

  start(command: string[], env: Record<string, string> = {}): Program {
    return startProgram(this.#inside(command, env));
  }

  async run(command: string[], env: Record<string, string> = {}) {
    return runProgram(this.#inside(command, env));
  }

  /** Every file, with its type, rights and, of files, size. */
  async files(): Promise<string[]> {
    const print = ["-type", "f", "-printf", "%y %m %s %p\\n", "-o", "-printf", "%y %m %p\\n"];
    const find = ["find", this.#root, "-path", join(this.#root, "proc"), "-prune", "-o", ...print];
    const { stdout } = await runProgram(this.#outside(...find));
    return stdout.trim().split("\n").sort();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#holder[Symbol.asyncDispose]();
    rmSync(this.#dir.path, { recursive: true, force: true });
  }
}
