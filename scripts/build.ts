import { mkdirSync, renameSync, rmSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { formatBytes } from "../src/base/bytes.ts";
import { hostPlatform, TARGETS, type Target } from "./targets.ts";

// bun run build: makes dist/modelrelay for this platform; with --all, dist/modelrelay-<target> for each
// platform of a release; with --target NAME, that of one. Runtimes of other platforms are fetched from the
// package registry once.

const root = join(import.meta.dir, "..");

/** The program starts this as a thread, and finds it under its path from here if the build names both. */
const STORE_THREAD = "src/server/store/store-thread";

/**
 * Short commit of the working copy, with `-dirty` when sources differ from it; `unknown` without git. Where
 * only a copy of the sources is, `MODELRELAY_COMMIT` says it.
 */
function currentCommit(): string {
  const told = process.env["MODELRELAY_COMMIT"];
  if (told) return told;
  const git = (...args: string[]) => {
    const path = Bun.which("git");
    const ran = path === null ? undefined : Bun.spawnSync([path, ...args], { cwd: root, stderr: "ignore" });
    return ran?.success === true ? ran.stdout.toString().trim() : undefined;
  };
  const commit = git("rev-parse", "--short=10", "HEAD");
  if (commit === undefined) return "unknown";
  return git("status", "--porcelain", "--", "src", "package.json", "package-lock.json") === ""
    ? commit
    : `${commit}-dirty`;
}

/** Compiles `entry` into one executable; the flags keep it from obeying files in the folder it is started in. */
async function compile(entry: string, outfile: string, target: Target | undefined): Promise<void> {
  // Bun writes in place; an executable that is running or being tested must not change under its user.
  const unfinished = join(outfile, "..", `.${process.pid}-${target?.name ?? "host"}${target?.suffix ?? ""}`);
  const define = (name: string, value: string) => `--define=${name}=${JSON.stringify(value)}`;
  const command = [
    process.execPath,
    "build",
    "--compile",
    "--minify",
    "--bytecode",
    // Its default with bytecode is CommonJS, which knows no top-level await.
    "--format=esm",
    "--no-compile-autoload-dotenv",
    "--no-compile-autoload-bunfig",
    // A compiled executable otherwise runs as "development" and shows error pages with sources.
    define("process.env.NODE_ENV", "production"),
    define("MODELRELAY_COMMIT", currentCommit()),
    define("MODELRELAY_PLATFORM", target?.name ?? hostPlatform()),
    define("MODELRELAY_STORE_THREAD", `./${STORE_THREAD}.js`),
    ...(releaseAddress === undefined ? [] : [define("MODELRELAY_RELEASE_ADDRESS", releaseAddress)]),
    ...(target === undefined ? [] : [`--target=${target.bunTarget}`]),
    `--outfile=${unfinished}`,
    `--root=${root}`,
    entry,
    join(root, `${STORE_THREAD}.ts`),
  ];
  try {
    const build = Bun.spawn(command, { cwd: root, stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    const [code, stdout, stderr] = await Promise.all([
      build.exited,
      build.stdout.text(),
      build.stderr.text(),
    ]);
    if (code !== 0)
      throw new Error(`Cannot build ${outfile}: bun build ended with exit code ${code}\n${stdout}${stderr}`);
    renameSync(unfinished, outfile);
  } finally {
    rmSync(unfinished, { force: true });
  }
  console.log(`${outfile}  ${formatBytes(statSync(outfile).size)}`);
}

const { values } = parseArgs({
  options: {
    all: { type: "boolean", default: false },
    target: { type: "string" },
    outdir: { type: "string", default: join(root, "dist") },
    entry: { type: "string", default: join(root, "src/cli.ts") },
    // Where `modelrelay update` looks for newer ones.
    "release-address": { type: "string" },
  },
});
const releaseAddress = values["release-address"];

const targets = TARGETS.filter(({ name }) => values.all || name === values.target);
if (values.target !== undefined && targets.length === 0) {
  console.error(
    `Cannot build for "${values.target}": it is not one of ${TARGETS.map(({ name }) => name).join(", ")}`,
  );
  process.exit(2);
}
const outdir = resolve(values.outdir);
mkdirSync(outdir, { recursive: true });
try {
  if (targets.length > 0) {
    for (const target of targets)
      await compile(values.entry, join(outdir, `modelrelay-${target.name}${target.suffix}`), target);
  } else {
    await compile(
      values.entry,
      join(outdir, process.platform === "win32" ? "modelrelay.exe" : "modelrelay"),
      undefined,
    );
  }
} catch (error) {
  console.error(error instanceof Error ? error.message : String(error));
  process.exitCode = 1;
}
