import { chmodSync, mkdirSync, rmSync, statSync } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import { messageOf, Problem } from "../base/errors.ts";
import { downloadParts, type ProgressParts } from "../base/progress.ts";
import { fileProblem } from "./file-problem.ts";
import { isOneFile, linkOrCopy, replaceExecutable, type Installation } from "./installation.ts";
import { placeOtherFiles } from "./other-files.ts";
import type { Archive, Releases } from "./releases.ts";
import { unpackTar } from "./tar.ts";
import { versionOf } from "./try-executable.ts";
import { UnpackError } from "./unpacked.ts";
import { compareVersions } from "./version.ts";
import { openWorkFolder } from "./work-folder.ts";
import { unpackZip } from "./zip.ts";

export interface UpdateParts {
  clock: Clock;
  env: Record<string, string | undefined>;
  /** As targets are called: what this process was built for. */
  platform: string;
  /** Ends the work; nothing is changed then. */
  signal: AbortSignal;
  /** Called as the download goes on. */
  told: (parts: ProgressParts) => void;
}

export interface Updated {
  /** What is there now. */
  version: string;
  /** What whoever runs it has to know besides. */
  notes: string[];
}

/**
 * Which version an update leads to.
 *
 * @param wanted by whoever runs it; an older one as well then
 * @returns `undefined` if that is the one which runs
 * @throws {Problem} if there is none, or the newest is older than what runs
 */
export async function chooseVersion(
  releases: Pick<Releases, "newest" | "base">,
  current: string,
  wanted: string | undefined,
): Promise<string | undefined> {
  const version = wanted ?? (await releases.newest());
  const order = compareVersions(version, current);
  if (order === 0) return undefined;
  if (order > 0 || wanted !== undefined) return version;
  throw new Problem(
    `Cannot update to ${version}, the newest version at ${releases.base}: this is ${current}, which is newer`,
    { action: `To go back all the same: modelrelay update --version ${version}` },
  );
}

/** @returns the folder that the archive holds, and the executable in it */
async function unpack(
  archive: string,
  name: string,
  work: string,
): Promise<{ unpacked: string; fresh: string }> {
  const folder = join(work, "unpacked");
  mkdirSync(folder);
  try {
    const isZip = name.endsWith(".zip");
    if (isZip) await unpackZip(archive, folder);
    else await unpackTar(archive, folder);
    const unpacked = join(folder, name.replace(/\.(tar\.gz|zip)$/, ""));
    const fresh = join(unpacked, isZip ? "modelrelay.exe" : "modelrelay");
    if (statSync(fresh, { throwIfNoEntry: false })?.isFile() !== true)
      throw new UnpackError("it holds no executable");
    rmSync(archive);
    return { unpacked, fresh };
  } catch (cause) {
    const code = cause instanceof Error && "code" in cause ? String(cause.code) : "";
    // What the decompression says of data that is no gzip has a code that begins so.
    if (!(cause instanceof UnpackError) && !code.startsWith("Z_")) throw cause;
    throw new Problem(`Cannot unpack ${name}: ${messageOf(cause)}`, {
      action: "The release itself is damaged: tell whoever made it; nothing was changed",
      cause,
    });
  }
}

async function download(
  releases: Releases,
  archive: Archive,
  to: string,
  { clock, told }: UpdateParts,
): Promise<void> {
  const begun = clock.now();
  const what = `modelrelay ${archive.version}`;
  await using file = await open(to, "wx");
  await releases.download(archive, file, (received, total) =>
    told(downloadParts({ what, received, total, elapsedMs: clock.now() - begun })),
  );
}

/** Downloads a version, tries it, and puts it in the place of the one that is there. */
export async function installVersion(
  releases: Releases,
  version: string,
  installation: Installation,
  parts: UpdateParts,
): Promise<Updated> {
  const { platform, signal } = parts;
  using work = openWorkFolder(installation.folder);
  const archive = await releases.archive(version, platform);
  try {
    const packed = join(work.path, "archive");
    await download(releases, archive, packed, parts);
    const { unpacked, fresh } = await unpack(packed, archive.name, work.path);
    signal.throwIfAborted();
    chmodSync(fresh, 0o755);
    const actual = await versionOf(fresh, parts);
    signal.throwIfAborted();
    if (actual !== version) {
      throw new Problem(`Cannot use ${archive.name}: the executable in it is of version ${actual}`, {
        action: `Tell whoever runs ${releases.base}; nothing was changed`,
      });
    }
    const notes = [
      replaceExecutable(fresh, installation, work.path),
      placeOtherFiles(unpacked, installation.path),
    ];
    return { version, notes: notes.filter((note) => note !== undefined) };
  } catch (cause) {
    signal.throwIfAborted();
    if (cause instanceof Error && "syscall" in cause)
      throw fileProblem(`Cannot update to ${version}`, installation.folder, cause);
    throw cause;
  }
}

/** Exchanges the executable with the one that was kept, so that the next rollback comes back. */
export async function rollBack(
  installation: Installation,
  parts: Pick<UpdateParts, "clock" | "env" | "platform">,
): Promise<Updated> {
  const { path, previous, folder } = installation;
  const missing = (why: string) =>
    new Problem(`Cannot go back: ${why}`, {
      action: "Any version can be had with: modelrelay update --version VERSION",
    });
  if (!(await Bun.file(previous).exists()))
    throw missing(`no version before this one is kept as "${previous}"`);
  if (isOneFile(path, previous)) throw missing(`"${previous}" is the same as "${path}"`);
  const version = await versionOf(previous, parts);
  using work = openWorkFolder(folder);
  const fresh = join(work.path, "modelrelay");
  try {
    linkOrCopy(previous, fresh);
  } catch (cause) {
    throw fileProblem(`Cannot go back to ${version}`, folder, cause);
  }
  const note = replaceExecutable(fresh, installation, work.path);
  return { version, notes: note === undefined ? [] : [note] };
}
