import {
  chmodSync,
  existsSync,
  lchownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { dirname } from "node:path";

export interface Ran {
  code: number;
  stdout: string;
  stderr: string;
}

export interface User {
  uid: number;
  gid: number;
  /** The comment of its entry. */
  about: string;
}

/** What a supervisor and an installation need of the machine; tests hand in one that is not this. */
export interface Machine {
  readonly platform: NodeJS.Platform;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly home: string;
  /** `undefined` where users have no number. */
  readonly uid: number | undefined;
  readonly userName: string;
  /** Runs a program to its end; code 127 if there is none. */
  run(command: readonly string[]): Promise<Ran>;
  /** Runs a program with the input and output of this one. */
  attach(command: readonly string[]): Promise<number>;
  exists(path: string): boolean;
  /** The text of a file; `undefined` if it is not there. */
  read(path: string): string | undefined;
  list(directory: string): string[];
  /** Replaces a file in one step. */
  write(path: string, content: string | Uint8Array, mode: number): void;
  makeDirectory(path: string, mode: number, owner?: User): void;
  remove(path: string): void;
  removeTree(path: string): void;
  /** @returns whether it was empty, and is gone */
  removeEmpty(path: string): boolean;
}

export interface MachineParts {
  env: Machine["env"];
  home: string;
  userName: string;
}

/** The machine that this program runs on. */
export function thisMachine({ env, home, userName }: MachineParts): Machine {
  const uid = process.getuid?.();
  return {
    platform: process.platform,
    env,
    home,
    uid,
    userName,
    run: (command) => runToEnd(command, env),
    attach: (command) => attach(command, env),
    exists: existsSync,
    read: (path) => (existsSync(path) ? readFileSync(path, "utf8") : undefined),
    list: (directory) => (existsSync(directory) ? readdirSync(directory) : []),
    write,
    makeDirectory(path, mode, owner) {
      mkdirSync(path, { recursive: true, mode: 0o755 });
      chmodSync(path, mode);
      if (owner !== undefined) lchownSync(path, owner.uid, owner.gid);
    },
    remove: (path) => rmSync(path, { force: true }),
    removeTree: (path) => rmSync(path, { recursive: true, force: true }),
    removeEmpty(path) {
      if (!existsSync(path) || readdirSync(path).length > 0) return false;
      rmdirSync(path);
      return true;
    },
  };
}

function write(path: string, content: string | Uint8Array, mode: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const unfinished = `${path}.${process.pid}`;
  try {
    rmSync(unfinished, { force: true });
    // Nobody reads a secret in the moment before its rights are set.
    writeFileSync(unfinished, content, { mode: 0o600, flag: "wx" });
    chmodSync(unfinished, mode);
    renameSync(unfinished, path);
  } finally {
    rmSync(unfinished, { force: true });
  }
}

const NOT_FOUND = 127;

async function runToEnd(command: readonly string[], env: Machine["env"]): Promise<Ran> {
  if (Bun.which(command[0] ?? "", { PATH: env["PATH"] ?? "" }) === null)
    return { code: NOT_FOUND, stdout: "", stderr: `${command[0]}: not found` };
  // What a supervisor says is read by this program, and not in the language and the time zone of the user.
  const child = Bun.spawn([...command], {
    env: { ...env, LC_ALL: "C", TZ: "UTC", SYSTEMD_PAGER: "", SYSTEMD_COLORS: "0" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { code, stdout, stderr };
}

async function attach(command: readonly string[], env: Machine["env"]): Promise<number> {
  if (Bun.which(command[0] ?? "", { PATH: env["PATH"] ?? "" }) === null) return NOT_FOUND;
  const child = Bun.spawn([...command], { env, stdio: ["inherit", "inherit", "inherit"] });
  return child.exited;
}

/** An entry of the machine's users; `undefined` if there is none of this name. */
export async function findUser(machine: Machine, name: string): Promise<User | undefined> {
  const { code, stdout } = await machine.run(["getent", "passwd", name]);
  const [, , uid, gid, about = ""] = stdout.trim().split(":");
  return code === 0 && uid !== undefined ? { uid: Number(uid), gid: Number(gid), about } : undefined;
}
