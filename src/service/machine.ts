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

/** What a program says when it fails stands at the end. */
export function lastLine(said: string): string {
  return said.trim().split("\n").at(-1) ?? "";
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
  /** The text of a file, which is UTF-8, or UTF-16 with its mark; `undefined` if it is not there. */
  read(path: string): string | undefined;
  list(directory: string): string[];
  /** Replaces a file in one step. */
  write(path: string, content: string | Uint8Array, mode: number, owner?: User): void;
  makeDirectory(path: string, mode: number, owner?: User): void;
  remove(path: string): void;
  removeTree(path: string): void;
  /** @returns whether it was empty, and is gone */
  removeEmpty(path: string): boolean;
}

export interface MachineParts {
  env: Machine["env"];
  home: string;
}

/** The machine that this program runs on. */
export function thisMachine({ env, home }: MachineParts): Machine {
  const uid = process.getuid?.();
  return {
    platform: process.platform,
    env,
    home,
    uid,
    userName: currentUser(env),
    run: (command) => runToEnd(command, env),
    attach: (command) => attach(command, env),
    exists: existsSync,
    read: (path) => (existsSync(path) ? textOf(readFileSync(path)) : undefined),
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

function textOf(bytes: Buffer): string {
  const isUtf16 = bytes[0] === 0xff && bytes[1] === 0xfe;
  return bytes.toString(isUtf16 ? "utf16le" : "utf8");
}

/** The runtime goes by a variable that not everybody has. */
function currentUser(env: Machine["env"]): string {
  if (process.platform === "win32") return env["USERNAME"] ?? "";
  const id = Bun.which("id", { PATH: `${env["PATH"] ?? ""}:/usr/bin:/bin` });
  const said = id === null ? "" : Bun.spawnSync([id, "-un"], { stderr: "ignore" }).stdout.toString().trim();
  return said || String(process.getuid?.() ?? "");
}

function write(path: string, content: string | Uint8Array, mode: number, owner?: User): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  const unfinished = `${path}.${process.pid}`;
  try {
    rmSync(unfinished, { force: true });
    // Nobody reads a secret in the moment before its rights are set.
    writeFileSync(unfinished, content, { mode: 0o600, flag: "wx" });
    chmodSync(unfinished, mode);
    if (owner !== undefined) lchownSync(unfinished, owner.uid, owner.gid);
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
  if (machine.platform === "darwin") return findUserOfMac(machine, name);
  const { code, stdout } = await machine.run(["getent", "passwd", name]);
  const [, , uid, gid, about = ""] = stdout.trim().split(":");
  return code === 0 && uid !== undefined ? { uid: Number(uid), gid: Number(gid), about } : undefined;
}

/** macOS has no getent, and its users stand in no file. */
async function findUserOfMac(machine: Machine, name: string): Promise<User | undefined> {
  const [uid, gid] = await Promise.all([
    machine.run(["id", "-u", "--", name]),
    machine.run(["id", "-g", "--", name]),
  ]);
  if (uid.code !== 0 || gid.code !== 0) return undefined;
  return { uid: Number(uid.stdout), gid: Number(gid.stdout), about: "" };
}
