import { accessSync, constants, lstatSync, readdirSync, statSync, type Stats } from "node:fs";
import { join, relative } from "node:path";
import type { Outcome } from "../base/check-result.ts";
import {
  AS_USER,
  bad,
  doubtful,
  good,
  nearestExisting,
  skipped,
  userName,
  userOfProcess,
  why,
  type Machine,
  type RelayHere,
} from "./context.ts";

/** A data directory has a handful of files, and a few for each domain. */
const MAX_FILES = 5_000;
const MAX_DEPTH = 6;
/** Of files that are wrong, told by name. */
const MAX_NAMED = 3;

const octal = (mode: number): string => (mode & 0o777).toString(8).padStart(4, "0");

/** Whose the directory is, who may enter it, and whether it can be written. */
export function checkFolder(machine: Machine, dataDir: string, running: RelayHere | undefined): Outcome {
  let stats: Stats | undefined;
  try {
    stats = statSync(dataDir, { throwIfNoEntry: false });
  } catch (error) {
    return bad(dataDir, `cannot be looked at: ${why(error)}`, AS_USER);
  }
  if (stats === undefined) return notYet(machine, dataDir);
  if (!stats.isDirectory()) {
    return bad(dataDir, "it is a file", "Name a directory with --data-dir, or move the file away");
  }
  if (machine.uid === undefined) return writableOr(dataDir, "", good(dataDir, "it can be written"));
  const owner = userName(machine, stats.uid);
  const user = userOfRelay(machine, stats.uid, running);
  const details = `of ${owner}, mode ${octal(stats.mode)}`;
  if (user !== 0 && user !== stats.uid) {
    const name = userName(machine, user);
    const give = `sudo chown -R ${name} ${dataDir}`;
    return running === undefined
      ? bad(
          dataDir,
          `it belongs to ${owner}, and this user is ${name}`,
          `Run this and serve as ${owner}, or give it away: ${give}`,
        )
      : bad(dataDir, `it belongs to ${owner}, and the relay runs as ${name}`, `Give it away: ${give}`);
  }
  if ((stats.mode & 0o002) !== 0) {
    return bad(dataDir, `${details}: everybody can put files into it`, `Close it: chmod 700 ${dataDir}`);
  }
  const open = (stats.mode & 0o077) !== 0;
  const verdict = open
    ? doubtful(dataDir, `${details}: others can look into it`, `Close it: chmod 700 ${dataDir}`)
    : good(dataDir, details);
  return writableOr(dataDir, details, verdict);
}

/** The user that a relay's files have to belong to: its own; root looks at what another user's relay has. */
function userOfRelay(machine: Machine, owner: number, running: RelayHere | undefined): number {
  const runs = running === undefined ? undefined : userOfProcess(machine, running.pid);
  return runs ?? (machine.uid === 0 ? owner : (machine.uid ?? owner));
}

function notYet(machine: Machine, dataDir: string): Outcome {
  const above = nearestExisting(dataDir);
  try {
    accessSync(above, constants.W_OK | constants.X_OK);
  } catch (error) {
    return bad(
      dataDir,
      `it is not there and cannot be made in ${above}: ${why(error)}`,
      machine.uid === 0
        ? "Name another directory with --data-dir"
        : `Make it: sudo install -d -m 700 -o $USER ${dataDir}, or name another one with --data-dir`,
    );
  }
  return skipped(dataDir, "not there yet: the first start of serve makes it");
}

function writableOr(dataDir: string, details: string, verdict: Outcome): Outcome {
  try {
    accessSync(dataDir, constants.R_OK | constants.W_OK | constants.X_OK);
    return verdict;
  } catch (error) {
    const told = details === "" ? "" : `${details}: `;
    return bad(
      dataDir,
      `${told}it cannot be written: ${why(error)}`,
      "Give the relay's user the right to, or name another directory with --data-dir",
    );
  }
}

interface Found {
  path: string;
  stats: Stats;
}

/** Keys, secrets and the database are for the relay's user alone. */
export function checkFiles(machine: Machine, dataDir: string, running: RelayHere | undefined): Outcome {
  if (machine.uid === undefined) return skipped("", "the user's own directory protects them on this system");
  const files: Found[] = [];
  let owner: number;
  try {
    const stats = statSync(dataDir, { throwIfNoEntry: false });
    if (stats?.isDirectory() !== true) return skipped("", "there are none yet");
    owner = stats.uid;
    collect(dataDir, MAX_DEPTH, files);
  } catch (error) {
    return bad("", `they cannot be looked through: ${why(error)}`, AS_USER);
  }
  const user = userOfRelay(machine, owner, running);
  const foreign = files.filter(({ stats }) => user !== 0 && stats.uid !== user);
  const readable = files.filter(({ stats }) => stats.isFile() && (stats.mode & 0o006) !== 0);
  const grouped = files.filter(({ stats }) => stats.isFile() && (stats.mode & 0o060) !== 0);
  const names = (some: readonly Found[]): string => namesOf(dataDir, some);
  if (readable.length > 0) {
    return bad(
      "",
      `every user of this machine can read or change ${names(readable)}`,
      `Close them: chmod -R go= ${dataDir}; then replace the secrets among them`,
    );
  }
  if (foreign.length > 0) {
    const name = userName(machine, user);
    return bad(
      "",
      `not all belong to ${name}, as whom the relay runs: ${names(foreign)}`,
      `Give them away: sudo chown -R ${name} ${dataDir}`,
    );
  }
  if (grouped.length > 0) {
    return doubtful("", `a group can read ${names(grouped)}`, `Close them: chmod -R go= ${dataDir}`);
  }
  return good("", `${files.filter(({ stats }) => stats.isFile()).length}, for their owner alone`);
}

function namesOf(dataDir: string, some: readonly Found[]): string {
  const named = some.slice(0, MAX_NAMED).map(({ path }) => relative(dataDir, path));
  const more = some.length - named.length;
  return `${named.join(", ")}${more > 0 ? ` and ${more} more` : ""}`;
}

function collect(folder: string, depth: number, files: Found[]): void {
  for (const name of readdirSync(folder).toSorted()) {
    if (files.length >= MAX_FILES) return;
    const path = join(folder, name);
    const stats = lstatSync(path, { throwIfNoEntry: false });
    // What a running relay writes comes and goes.
    if (stats === undefined) continue;
    files.push({ path, stats });
    if (stats.isDirectory() && depth > 0) collect(path, depth - 1, files);
  }
}

/** A file that holds a secret, or the settings with one among them. */
export interface SecretFile {
  path: string;
  /** What it is for, such as `worker-secret`. */
  what: string;
}

/** Files that settings name: whoever can read one has what is in it. */
export function checkSecretFiles(machine: Machine, named: readonly SecretFile[]): Outcome[] {
  if (named.length === 0) return [skipped("", "none are named by the settings")];
  const outcomes = named.flatMap(({ path, what }) => {
    const target = `${path} (${what})`;
    let stats: Stats;
    try {
      accessSync(path, constants.R_OK);
      stats = statSync(path);
    } catch (error) {
      return [
        bad(target, `cannot be read: ${why(error)}`, "Correct the path, or let the relay's user read it"),
      ];
    }
    // A pipe or a device has no rights that would tell.
    if (machine.uid === undefined || !stats.isFile()) return [];
    const close = `Close it: chmod 600 ${path}`;
    if ((stats.mode & 0o002) !== 0)
      return [bad(target, `mode ${octal(stats.mode)}: everybody can change it`, close)];
    if ((stats.mode & 0o004) !== 0) {
      return [
        bad(
          target,
          `mode ${octal(stats.mode)}: everybody can read it`,
          `${close}, and replace what is in it`,
        ),
      ];
    }
    return [];
  });
  if (outcomes.length > 0) return outcomes;
  return [good("", named.map(({ what }) => what).join(", "))];
}
