import { statfsSync } from "node:fs";
import { formatBytes } from "../base/bytes.ts";
import type { Outcome } from "../base/check-result.ts";
import { bad, doubtful, good, nearestExisting } from "./context.ts";

/** Below that a busy relay fills the disk within a day. */
export const LITTLE_SPACE_BYTES = 256 * 1024 * 1024;
const SOME_SPACE_BYTES = 1024 ** 3;
/** The database has three files, each certificate two, and changes need one beside each. */
const FEW_INODES = 1_000;

/** Kinds of file systems (statfs(2)) on which a database is not safe, and why. */
const UNFIT: Readonly<Record<number, string>> = {
  0x01021994: "it is memory (tmpfs), whose content a restart of the machine takes away",
  0x6969: "it is a network file system (NFS), on which SQLite's locks are not safe",
  0xff534d42: "it is a network file system (SMB), on which SQLite's locks are not safe",
  0xfe534d42: "it is a network file system (SMB), on which SQLite's locks are not safe",
  0x794c7630: "it is the layer of a container (overlay), which goes with the container",
};

/** Numbers of a file system, as statfs(2) has them. */
export interface DiskNumbers {
  type: number;
  bsize: number;
  bavail: number;
  files: number;
  ffree: number;
}

/** The disk that the data directory is on. */
export function checkDisk(dataDir: string): Outcome {
  return judgeDisk(dataDir, statfsSync(nearestExisting(dataDir)));
}

export function judgeDisk(dataDir: string, { type, bsize, bavail, files, ffree }: DiskNumbers): Outcome {
  const free = bavail * bsize;
  // Some file systems make inodes as they need them, and count none.
  const counted = files > 0;
  const details = `${formatBytes(free)} free${counted ? `, and ${ffree} inodes` : ""}`;
  if (free < LITTLE_SPACE_BYTES) {
    return bad(dataDir, details, "Free space, before usage and certificates can no longer be stored");
  }
  if (counted && ffree < FEW_INODES) {
    return bad(
      dataDir,
      `${details}: too few files can be made`,
      "Remove small files from that disk; df -i shows how many there are",
    );
  }
  // As the number of 32 bits that it is; some systems give it a sign.
  const unfit = UNFIT[type >>> 0];
  if (unfit !== undefined) {
    return doubtful(
      dataDir,
      `${details}; ${unfit}`,
      "Name a directory on a disk of this machine with --data-dir, or a volume",
    );
  }
  if (free < SOME_SPACE_BYTES)
    return doubtful(dataDir, details, "Free space soon; --usage-retention shortens what is kept");
  return good(dataDir, details);
}
