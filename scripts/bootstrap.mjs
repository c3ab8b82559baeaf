// Makes a fresh clone runnable with nothing but Node 20 and npm, or nothing but Bun. Plain JavaScript on
// built-in modules: it runs before anything is installed.

import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** The repository's folder, absolute. */
export const root = dirname(dirname(fileURLToPath(import.meta.url)));

const readJson = (path) => JSON.parse(readFileSync(path, "utf8"));

/**
 * The first package that is not installed as package-lock.json has it, as `name: why`, or undefined.
 * Looks at the packages themselves and not at what an installer noted down, so that it holds for npm,
 * Bun and a node_modules that was copied.
 */
function firstMismatch() {
  for (const [path, locked] of Object.entries(readJson(join(root, "package-lock.json")).packages)) {
    if (path === "" || locked.link) continue;
    const manifest = join(root, path, "package.json");
    if (!existsSync(manifest)) {
      // Optional packages are those of other platforms; the one that matters, Bun, is tried below.
      if (locked.optional) continue;
      return `${path}: not installed`;
    }
    const { version } = readJson(manifest);
    if (version !== locked.version) return `${path}: ${version} instead of ${locked.version}`;
  }
  return undefined;
}

/** Runs a program with its output going to stderr; stdout belongs to what was asked for. */
function run(program, args, options = {}) {
  const { status, signal, error } = spawnSync(program, args, {
    cwd: root,
    stdio: ["ignore", 2, 2],
    ...options,
  });
  if (error?.code === "ENOENT") return false;
  if (error) throw error;
  if (status !== 0)
    throw new Error(
      `Cannot run "${[program, ...args].join(" ")}": it ended with ${signal ?? `exit code ${status}`}`,
    );
  return true;
}

/**
 * Not `npm ci`: it refuses a lockfile that lacks an optional package of another platform, and which of
 * those a registry offers differs. `install --no-save` keeps to the lockfile and leaves it untouched.
 */
function install() {
  const windows = process.platform === "win32";
  if (
    run(windows ? "npm.cmd" : "npm", ["install", "--no-save", "--no-audit", "--no-fund"], { shell: windows })
  )
    return;
  // Bun reads package-lock.json itself; frozen, it writes no lockfile of its own.
  if (process.versions.bun && run(process.execPath, ["install", "--frozen-lockfile"])) return;
  throw new Error("Cannot install the dependencies: no npm on the PATH; install Node.js 20 or newer, or Bun");
}

function answers(bun, version) {
  const { status, stdout } = spawnSync(bun, ["--version"], { encoding: "utf8" });
  return status === 0 && stdout.trim() === version;
}

/** The pinned Bun. Where install scripts are off, the package holds a placeholder until its script has run. */
function pinnedBun() {
  const dir = join(root, "node_modules/bun");
  const bun = join(dir, "bin/bun.exe");
  const { version } = readJson(join(dir, "package.json"));
  if (answers(bun, version)) return bun;
  run(process.execPath, [join(dir, "install.js")]);
  if (answers(bun, version)) return bun;
  throw new Error(
    `Cannot run Bun ${version} at ${bun}: remove node_modules and try again without "omit=optional" in npm's settings`,
  );
}

/** Installs what package-lock.json names unless it is there. Returns the path of the pinned Bun. */
export function bootstrap() {
  const mismatch = firstMismatch();
  if (mismatch !== undefined) {
    console.error(`Installing dependencies (${mismatch})`);
    install();
    const still = firstMismatch();
    if (still !== undefined) throw new Error(`Cannot install the dependencies: ${still}`);
  }
  return pinnedBun();
}

/**
 * Runs a program in the foreground until it ends, passing on the signals that this process gets.
 * Returns its exit code; 128 + n if signal n ended it.
 */
export function foreground(program, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: "inherit", ...options });
    // A terminal sends Ctrl-C to the whole foreground group, so the child already has that one.
    const pass = (signal) =>
      signal === "SIGINT" && process.stdin.isTTY === true ? undefined : child.kill(signal);
    for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, pass);
    child.on("error", reject);
    child.on("close", (code, signal) => resolve(code ?? 128 + (constants.signals[signal] ?? 0)));
  });
}

/** Runs a script's body; a failure is one line on stderr and exit code 1. */
export async function main(body) {
  try {
    process.exitCode = await body();
  } catch (error) {
    console.error(error instanceof Error ? error.message : String(error));
    process.exitCode = 1;
  }
  // Listening for signals keeps Node alive.
  process.exit();
}
