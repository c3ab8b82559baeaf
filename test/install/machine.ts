import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { runProgram, startProgram, type Program } from "../e2e/program.ts";

/** What install.sh may count on beside the shell and something to download with. */
const TOOLS =
  `cat chmod cmp cp df find getconf grep gzip id ldd ln mkdir mv rm rmdir sed sha256sum sort tail tar
  uname`.split(/\s+/);

export interface MachineOptions {
  /** `dash`, `bash` or `busybox`, which brings its own tools. */
  shell?: "dash" | "bash" | "busybox";
  /** Programs beside the usual ones. */
  programs?: string[];
  /** Usual ones that it lacks. */
  without?: string[];
}

/** A machine that has only the programs that are named, and a home and a prefix that are empty. */
export class Machine implements Disposable {
  readonly dir = mkdtempSync(join(tmpdir(), "modelrelay-machine-"));
  readonly home = join(this.dir, "home");
  readonly prefix = join(this.dir, "prefix");
  readonly bin = join(this.prefix, "bin");
  readonly executable = join(this.bin, "modelrelay");
  readonly previous = join(this.bin, "modelrelay.previous");
  /** Its PATH. */
  readonly tools = join(this.dir, "tools");
  readonly #shell: string[];

  constructor({ shell = "dash", programs = ["curl"], without = [] }: MachineOptions = {}) {
    for (const dir of [this.home, this.tools]) mkdirSync(dir, { recursive: true });
    // Others than its owner use it too.
    for (const dir of [this.dir, this.home]) chmodSync(dir, 0o755);
    const command = found(shell);
    this.#shell = shell === "busybox" ? [command, "sh"] : [command];
    if (shell === "busybox") for (const tool of [...TOOLS, "wget", "sh"]) this.#link(tool, command);
    else for (const tool of [...TOOLS, ...programs]) this.#link(tool, found(tool));
    if (shell === "busybox") for (const tool of programs) this.#link(tool, found(tool));
    for (const tool of without) rmSync(join(this.tools, tool));
  }

  #link(name: string, path: string): void {
    rmSync(join(this.tools, name), { force: true });
    symlinkSync(path, join(this.tools, name));
  }

  /** A program of this machine that is a shell script. */
  fake(name: string, script: string): void {
    rmSync(join(this.tools, name), { force: true });
    writeFileSync(join(this.tools, name), `#!${found("dash")}\n${script}\n`, { mode: 0o755 });
  }

  /** What runs install.sh, with the prefix of this machine. */
  command(script: string, args: string[] = []): string[] {
    return [...this.#shell, script, "--prefix", this.prefix, ...args];
  }

  #env(env: Record<string, string>): Record<string, string> {
    return { PATH: this.tools, HOME: this.home, ...env };
  }

  /** Starts install.sh, with the prefix of this machine. */
  start(script: string, args: string[] = [], env: Record<string, string> = {}): Program {
    return startProgram(this.command(script, args), { env: this.#env(env), cwd: this.dir });
  }

  /** Runs install.sh to its end, with the prefix of this machine. */
  async install(script: string, args: string[] = [], env: Record<string, string> = {}) {
    return this.run(this.command(script, args), env);
  }

  /** Runs any command with what this machine has. */
  async run(command: string[], env: Record<string, string> = {}, cwd = this.dir) {
    return runProgram(command, { env: this.#env(env), cwd });
  }

  async version(path = this.executable): Promise<string> {
    const { stdout } = await runProgram([path, "--version"]);
    return /^modelrelay (\S+) /.exec(stdout)?.[1] ?? stdout;
  }

  /** A home that belongs to `asNobody()`. */
  async homeOfNobody(): Promise<string> {
    const home = join(this.home, "nobody");
    mkdirSync(home);
    if (asNobody().length > 0) await runProgram(["chown", "65534:65534", home]);
    return home;
  }

  /** Everything but its programs, such that a file that was written or replaced differs. */
  state(): string[] {
    return stateOf(this.dir).filter((line) => !line.startsWith("tools"));
  }

  [Symbol.dispose](): void {
    rmSync(this.dir, { recursive: true, force: true });
  }
}

/** What to put in front of a command that root must not run: nothing, for anybody else. */
export function asNobody(): string[] {
  if (process.getuid?.() !== 0) return [];
  return [found("setpriv"), "--reuid=65534", "--regid=65534", "--clear-groups"];
}

/** Where a program is on the machine that runs the tests. */
function found(name: string): string {
  const path = Bun.which(name, { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` });
  if (path === null) throw new Error(`Cannot find "${name}" on this machine`);
  return path;
}

/** Files and folders below one, with what tells a replaced file from the one before it. */
export function stateOf(dir: string): string[] {
  return (readdirSync(dir, { recursive: true }) as string[]).sort().map((path) => {
    const { mode, ino, size, mtimeMs } = lstatSync(join(dir, path));
    const kind = mode & 0o170_000;
    if (kind === 0o040_000) return `${path}/`;
    if (kind === 0o120_000) return `${path} -> ${readlinkSync(join(dir, path))}`;
    return `${path} ${(mode & 0o7777).toString(8)} ${ino} ${size} ${mtimeMs}`;
  });
}

/** The names alone. */
export function namesIn(dir: string): string[] {
  return stateOf(dir).map((line) => line.split(" ")[0] ?? "");
}
