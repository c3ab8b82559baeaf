import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import packageJson from "../package.json" with { type: "json" };
import { formatBytes } from "../src/base/bytes.ts";
import { ALL_COMMANDS } from "../src/commands/all-commands.ts";
import { type Entry, tarGz, zip } from "./archive.ts";
import { manPage } from "./man-page.ts";
import { hostPlatform, type Target, TARGETS } from "./targets.ts";

// bun run release: makes dist/release, a folder that any static file server can serve as the release
// address (`MODELRELAY_BASE_URL`), and installs from it once, over a local server, to see that it works.
//
//   <base>/latest.txt                      the newest version and a newline: `0.2.0`
//   <base>/install.sh                      the installer
//   <base>/SHA256SUMS                      sums of the newest version, with paths from here
//   <base>/v0.2.0/SHA256SUMS               sums of that version's archives: `<64 hex digits>  <file name>`
//   <base>/v0.2.0/modelrelay-0.2.0-<target>.tar.gz     (`.zip` for Windows); targets as in targets.ts
//
// Who installs reads latest.txt, then v<version>/SHA256SUMS, then the archive. A version's folder never
// changes once it is there, and latest.txt is written last, so that nobody sees half a release.
//
// In an archive, all below one folder `modelrelay-<version>-<target>/`; the executable comes first:
//
//   modelrelay (modelrelay.exe)            mode 0755
//   LICENSE, README.md
//   systemd/…                              units, for those who place files themselves
//   share/man/man1/modelrelay.1
//   share/bash-completion/completions/modelrelay
//   share/zsh/site-functions/_modelrelay
//   share/fish/vendor_completions.d/modelrelay.fish
//   completions/modelrelay.ps1             for Windows
//
// An installation, below a prefix such as /usr/local or ~/.local:
//
//   <prefix>/bin/modelrelay                replaced by rename(2), so that it is whole at any moment
//   <prefix>/bin/modelrelay.previous       the one before it, for `modelrelay update --rollback`
//   <prefix>/bin/.modelrelay-install.<pid>/    work in progress; of a process that is gone: rubbish
//   <prefix>/share/…                       the files below share/ of the archive
//   <prefix>/share/doc/modelrelay/         LICENSE, README.md and systemd/ of the archive, and
//     made-folders                         absolute paths of the folders that installing made, one a line,
//                                          parents first; uninstalling removes those that are then empty
//
// --target NAME makes the archive of one platform, --base-url URL writes the release address into
// install.sh and the executables, --executable FILE packs that instead of building, and --unpacked DIR makes
// the one folder of an archive there instead of a release: install.sh asks for it in a checkout.

// For the times in a zip.
process.env["TZ"] = "UTC";

const root = join(import.meta.dir, "..");
const { version } = packageJson;

/** What is copied into an archive, as patterns from here. */
const COPIED = ["LICENSE", "README.md", "systemd/*"];

/** What the program itself writes: the arguments that make it, and where it goes. */
const WRITTEN: { args: string[]; path: string; windows: boolean }[] = [
  { args: ["completions", "bash"], path: "share/bash-completion/completions/modelrelay", windows: false },
  { args: ["completions", "zsh"], path: "share/zsh/site-functions/_modelrelay", windows: false },
  { args: ["completions", "fish"], path: "share/fish/vendor_completions.d/modelrelay.fish", windows: false },
  { args: ["completions", "powershell"], path: "completions/modelrelay.ps1", windows: true },
];

class ReleaseError extends Error {}

async function run(command: string[], env: Record<string, string> = {}): Promise<string> {
  const child = Bun.spawn(command, {
    cwd: root,
    env: { ...process.env, ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "inherit",
  });
  const [code, stdout] = await Promise.all([child.exited, child.stdout.text()]);
  if (code !== 0) {
    process.stderr.write(stdout);
    throw new ReleaseError(`Cannot run "${command.join(" ")}": it ended with exit code ${code}`);
  }
  return stdout;
}

/** Seconds since 1970 of the last commit, so that the same sources make the same archives. */
function madeAt(): number {
  const told = process.env["SOURCE_DATE_EPOCH"];
  if (told) return Number(told);
  const git = Bun.which("git");
  const asked =
    git === null
      ? undefined
      : Bun.spawnSync([git, "log", "-1", "--format=%ct"], { cwd: root, stderr: "ignore" });
  return asked?.success === true ? Number(asked.stdout.toString()) : Math.floor(Date.now() / 1_000);
}

async function executableOf(target: Target): Promise<Uint8Array<ArrayBuffer>> {
  const dir = mkdtempSync(join(tmpdir(), "modelrelay-release-"));
  try {
    const address = values["base-url"];
    const options = ["--target", target.name, "--outdir", dir];
    if (address !== undefined) options.push("--release-address", address);
    await run([process.execPath, "scripts/build.ts", ...options]);
    return await Bun.file(join(dir, `modelrelay-${target.name}${target.suffix}`)).bytes();
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

interface OtherEntry extends Entry {
  /** Whether it is for Windows or for the others; for all if it does not say. */
  windows?: boolean;
}

/** All of an archive but the executable, which differs for each target. */
let others: OtherEntry[] | undefined;

async function otherEntries(): Promise<OtherEntry[]> {
  const copied = COPIED.flatMap((pattern) => [...new Bun.Glob(pattern).scanSync(root)].sort());
  const entries: OtherEntry[] = [];
  for (const path of copied)
    entries.push({ path, bytes: await Bun.file(join(root, path)).bytes(), executable: false });
  const written = WRITTEN.map(async ({ args, path, windows }) => {
    const text = await run([process.execPath, "src/cli.ts", ...args]);
    return { path, bytes: new TextEncoder().encode(text), executable: false, windows };
  });
  entries.push(...(await Promise.all(written)));
  const manual = new TextEncoder().encode(manPage(version, ALL_COMMANDS));
  entries.push({ path: "share/man/man1/modelrelay.1", bytes: manual, executable: false, windows: false });
  return entries;
}

async function entriesOf(target: Target): Promise<Entry[]> {
  const isWindows = target.suffix === ".exe";
  const { executable } = values;
  const bytes = await (executable === undefined ? executableOf(target) : Bun.file(executable).bytes());
  others ??= await otherEntries();
  const entries = [
    { path: `modelrelay${target.suffix}`, bytes, executable: true },
    ...others.filter(({ windows = isWindows }) => windows === isWindows),
  ];
  return entries.map((entry) => ({ ...entry, path: `modelrelay-${version}-${target.name}/${entry.path}` }));
}

async function unpack(target: Target, dir: string): Promise<void> {
  for (const { path, bytes, executable } of await entriesOf(target)) {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), bytes, { mode: executable ? 0o755 : 0o644 });
  }
}

/** install.sh for this release, which knows its address if we do. */
function installer(): string {
  const text = readFileSync(join(root, "install.sh"), "utf8");
  const address = values["base-url"];
  if (address === undefined) return text;
  const changed = text.replace(/^BASE_URL=.*$/m, () => `BASE_URL='${address}'`);
  if (changed === text)
    throw new ReleaseError("Cannot write the release address: install.sh has no BASE_URL");
  return changed;
}

/** The newest of what was released before and of this. */
function newest(outdir: string): string {
  const path = join(outdir, "latest.txt");
  const before = existsSync(path) ? readFileSync(path, "utf8").trim() : version;
  return Bun.semver.order(before, version) > 0 ? before : version;
}

/** Makes a release in `dir` as it is to be served. */
async function make(targets: readonly Target[], dir: string): Promise<void> {
  const folder = `v${version}`;
  mkdirSync(join(dir, folder), { recursive: true });
  const sums: { sum: string; file: string }[] = [];
  for (const target of targets) {
    const pack = target.suffix === ".exe" ? zip : tarGz;
    const bytes = await pack(await entriesOf(target), madeAt());
    const file = `modelrelay-${version}-${target.name}${target.suffix === ".exe" ? ".zip" : ".tar.gz"}`;
    await Bun.write(join(dir, folder, file), bytes);
    sums.push({ sum: createHash("sha256").update(bytes).digest("hex"), file });
    console.log(`${file}  ${formatBytes(bytes.length)}`);
  }
  const lines = (prefix: string) => sums.map(({ sum, file }) => `${sum}  ${prefix}${file}\n`).join("");
  await Bun.write(join(dir, folder, "SHA256SUMS"), lines(""));
  await Bun.write(join(dir, "SHA256SUMS"), lines(`${folder}/`));
  writeFileSync(join(dir, "install.sh"), installer(), { mode: 0o755 });
  await Bun.write(join(dir, "latest.txt"), `${version}\n`);
}

/** Installs from `dir` over a local server, runs what came, and removes it again. */
async function tryOut(dir: string): Promise<void> {
  using server = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    fetch: ({ url }) => new Response(Bun.file(join(dir, new URL(url).pathname))),
    error: () => new Response(null, { status: 404 }),
  });
  const prefix = mkdtempSync(join(tmpdir(), "modelrelay-installed-"));
  try {
    const sh = (...args: string[]) =>
      run(["sh", join(dir, "install.sh"), "--prefix", prefix, ...args], {
        MODELRELAY_BASE_URL: `http://127.0.0.1:${server.port}`,
        PATH: `${join(prefix, "bin")}:${process.env["PATH"] ?? ""}`,
      });
    await sh();
    const said = await run([join(prefix, "bin/modelrelay"), "--version"]);
    if (!said.startsWith(`modelrelay ${version} (`))
      throw new ReleaseError(`Cannot use what install.sh installed: it says ${JSON.stringify(said)}`);
    await sh("--uninstall");
    const left = readdirSync(prefix);
    if (left.length > 0)
      throw new ReleaseError(`Cannot uninstall what install.sh installed: it left ${left.join(", ")}`);
    console.log(`Installed over HTTP, ran and uninstalled: ${said.trim()}`);
  } finally {
    rmSync(prefix, { recursive: true, force: true });
  }
}

/** Moves what was made to where it is served from, and says last that it is there. */
function publish(made: string, outdir: string): void {
  const folder = `v${version}`;
  const isNewest = newest(outdir) === version;
  rmSync(join(outdir, folder), { recursive: true, force: true });
  renameSync(join(made, folder), join(outdir, folder));
  const files = isNewest ? ["install.sh", "SHA256SUMS", "latest.txt"] : [];
  for (const file of files) renameSync(join(made, file), join(outdir, file));
  if (!isNewest) console.log(`latest.txt still says ${newest(outdir)}, which is newer`);
}

const { values } = parseArgs({
  options: {
    target: { type: "string" },
    outdir: { type: "string", default: join(root, "dist/release") },
    "base-url": { type: "string" },
    executable: { type: "string" },
    unpacked: { type: "string" },
  },
});

const targets = TARGETS.filter(({ name }) => values.target === undefined || name === values.target);
const [only, ...more] = targets;
if (only === undefined) {
  const known = TARGETS.map(({ name }) => name).join(", ");
  console.error(`Cannot make a release for "${values.target}": it is not one of ${known}`);
  process.exit(2);
}
if (more.length > 0 && (values.executable ?? values.unpacked) !== undefined) {
  console.error("Cannot take --executable or --unpacked for all platforms: give --target too");
  process.exit(2);
}
if (values["base-url"] !== undefined && !/^https?:\/\/[^\s'"\\]+$/.test(values["base-url"])) {
  console.error(`Cannot take "${values["base-url"]}" for a release address: it is to begin with https://`);
  process.exit(2);
}

const outdir = resolve(values.outdir);
const unfinished = join(outdir, `.unfinished-${process.pid}`);
try {
  if (values.unpacked !== undefined) {
    await unpack(only, resolve(values.unpacked));
  } else {
    await make(targets, unfinished);
    if (targets.some(({ name }) => name === hostPlatform()) && process.platform !== "win32")
      await tryOut(unfinished);
    else console.log("Not tried: none of these is for this machine");
    publish(unfinished, outdir);
    console.log(`To serve it: any static file server, with ${outdir} as its root`);
  }
} catch (error) {
  console.error(error instanceof ReleaseError ? error.message : error);
  process.exitCode = 1;
} finally {
  rmSync(unfinished, { recursive: true, force: true });
}
