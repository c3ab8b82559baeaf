import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { hostPlatform } from "../../scripts/targets.ts";
import { runProgram } from "../e2e/program.ts";
import { binaryPath } from "../support/binary.ts";

const ROOT = join(import.meta.dir, "../..");

/** The version under test, and one that is made from the same sources with another number. */
export const OLDER: string = packageJson.version;
export const NEWER = "900.1.2";

/** The release address that the newer one knows. Nobody is there. */
export const ADDRESS = "https://modelrelay.invalid/releases";

/** What this machine installs. */
export const TARGET = hostPlatform();

/** A release address with both versions, for as long as this process runs. */
const DIR = join(tmpdir(), `modelrelay-releases-${process.pid}`);

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
  const files = ["LICENSE", "README.md", "bunfig.toml", "install.sh", "package-lock.json", "tsconfig.json"];
  for (const name of [...files, "scripts", "src", "systemd"]) {
    if (existsSync(join(ROOT, name))) cpSync(join(ROOT, name), join(dir, name), { recursive: true });
  }
  const manifest = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8")) as object;
  writeFileSync(join(dir, "package.json"), JSON.stringify({ ...manifest, version }));
  symlinkSync(join(ROOT, "node_modules"), join(dir, "node_modules"));
}

/** The folder of a release address: `OLDER` of the executable under test, and `NEWER`. Made once. */
export async function releaseFolder(): Promise<string> {
  if (existsSync(join(DIR, `v${OLDER}`))) return DIR;
  process.on("exit", () => rmSync(DIR, { recursive: true, force: true }));
  const sources = join(DIR, ".sources");
  copyOfSources(sources, NEWER);
  const older = join(DIR, ".older");
  await Promise.all([
    makeRelease(sources, DIR, "--base-url", ADDRESS),
    makeRelease(ROOT, older, "--executable", binaryPath()),
  ]);
  renameSync(join(older, `v${OLDER}`), join(DIR, `v${OLDER}`));
  return DIR;
}
