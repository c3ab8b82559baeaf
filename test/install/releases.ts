import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { hostPlatform } from "../../scripts/targets.ts";
import { TempDir } from "../commands/reading.ts";
import { runProgram } from "../e2e/program.ts";
import { binaryPath } from "../support/binary.ts";
import { cacheDir } from "../support/parts.ts";

const ROOT = join(import.meta.dir, "../..");

/** The version under test, and one that is made from the same sources with another number. */
export const OLDER: string = packageJson.version;
export const NEWER = "900.1.2";

/** The release address that the newer one knows. Nobody is there. */
export const ADDRESS = "https://modelrelay.invalid/releases";

/** What this machine installs. */
export const TARGET = hostPlatform();

/** What a checkout holds. */
const SOURCES =
  "LICENSE README.md bunfig.toml install.sh package-lock.json tsconfig.json scripts src systemd".split(" ");

const CHOSEN = "MODELRELAY_TEST_RELEASES";

/** Beyond this nobody uses the releases of an earlier state of the sources. */
const OLD_MS = 20 * 60_000;

/** The path of an archive below the release address. */
export function archivePath(version: string, target = TARGET): string {
  return `v${version}/modelrelay-${version}-${target}.tar.gz`;
}

export async function makeRelease(sources: string, outdir: string, ...args: string[]): Promise<void> {
  const command = [process.execPath, join(sources, "scripts/release.ts"), "--target", TARGET];
  const { code, stdout, stderr } = await runProgram([...command, "--outdir", outdir, ...args]);
  if (code !== 0) throw new Error(`Cannot make a release of ${sources}:\n${stdout}${stderr}`);
}

/** A copy of the sources as a checkout has them, with what npm installed. */
export function copyOfSources(dir: string, version = OLDER): void {
  mkdirSync(dir, { recursive: true });
  for (const name of SOURCES) cpSync(join(ROOT, name), join(dir, name), { recursive: true });
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as object;
  writeFileSync(join(dir, "package.json"), JSON.stringify({ ...manifest, version }));
  symlinkSync(join(ROOT, "node_modules"), join(dir, "node_modules"));
}

/** What the releases are made of, as a word. */
function stateOfSources(): string {
  const hash = new Bun.CryptoHasher("sha256");
  hash.update(readFileSync(binaryPath()));
  hash.update(readFileSync(join(ROOT, "package.json")));
  for (const name of SOURCES) {
    const isFolder = statSync(join(ROOT, name)).isDirectory();
    const files = isFolder ? (readdirSync(join(ROOT, name), { recursive: true }) as string[]).sort() : [""];
    for (const file of files) {
      const path = join(ROOT, name, file);
      if (statSync(path).isFile()) hash.update(`${name}/${file}\0`).update(readFileSync(path));
    }
  }
  return hash.digest("hex").slice(0, 16);
}

function removeOld(): void {
  for (const name of readdirSync(cacheDir)) {
    const path = join(cacheDir, name);
    const isOurs = name.startsWith("releases-");
    if (isOurs && statSync(path).mtimeMs < Date.now() - OLD_MS)
      rmSync(path, { recursive: true, force: true });
  }
}

/**
 * The folder of a release address: `OLDER` of the executable under test, and `NEWER`. Made once for each
 * state of the sources; no hook runs when all tests are done, so it stays, until there is another one.
 */
export async function releaseFolder(): Promise<string> {
  // All files of a run use those that the first one found, even if somebody edits the sources meanwhile.
  const dir = (process.env[CHOSEN] ??= join(cacheDir, `releases-${stateOfSources()}`));
  if (existsSync(dir)) {
    utimesSync(dir, new Date(), new Date());
    return dir;
  }
  mkdirSync(cacheDir, { recursive: true });
  removeOld();
  using unfinished = new TempDir();
  const sources = join(unfinished.path, "sources");
  const newer = join(unfinished.path, "newer");
  const older = join(unfinished.path, "older");
  copyOfSources(sources, NEWER);
  await Promise.all([
    makeRelease(sources, newer, "--base-url", ADDRESS),
    makeRelease(ROOT, older, "--executable", binaryPath()),
  ]);
  renameSync(join(older, `v${OLDER}`), join(newer, `v${OLDER}`));
  const made = `${dir}.${process.pid}`;
  cpSync(newer, made, { recursive: true });
  // Another run may have been faster.
  if (existsSync(dir)) rmSync(made, { recursive: true });
  else renameSync(made, dir);
  return dir;
}
